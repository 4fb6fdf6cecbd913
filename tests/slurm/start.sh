#!/usr/bin/env bash
# Starts a Slurm of one node on this machine (Debian or Ubuntu, as root).
#
#   tests/slurm/start.sh         installs what is missing, starts, waits
#   tests/slurm/start.sh stop    ends it
#
# The commands find it by the file that the first form prints:
#   export SLURM_CONF=/tmp/kd_jax_slurm/slurm.conf
# No accounting and no cgroups, so that it runs inside a container too.
set -euo pipefail
place=${KD_JAX_SLURM:-/tmp/kd_jax_slurm}
export SLURM_CONF=$place/slurm.conf

if [ "${1:-start}" = stop ]; then
  for name in slurmd slurmctld munged; do
    if [ -s "$place/$name.pid" ]; then
      kill "$(cat "$place/$name.pid")" 2>/dev/null || true
    fi
  done
  exit 0
fi

if [ "$(id -u)" != 0 ]; then
  echo 'a Slurm of one node is started by root' >&2
  exit 1
fi
if ! { command -v sbatch && command -v slurmctld && command -v slurmd &&
  command -v munged; } >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
fi
if sinfo -h >/dev/null 2>&1; then
  echo "export SLURM_CONF=$SLURM_CONF"
  exit 0
fi

mkdir -p "$place/spool" "$place/state"
# munged refuses folders that others may write to, as /tmp is.
mkdir -p /run/munge
chown munge:munge /run/munge
chmod 755 /run/munge
if [ ! -s /etc/munge/munge.key ]; then
  (umask 077 && head -c 1024 /dev/urandom >/etc/munge/munge.key)
  chown munge:munge /etc/munge/munge.key
fi
if [ ! -S /run/munge/munge.socket.2 ] || ! munge -n >/dev/null 2>&1; then
  runuser -u munge -- /usr/sbin/munged --force
  cp /run/munge/munged.pid "$place/munged.pid"
fi

host=$(hostname -s)
# More CPUs than there are: two tasks run side by side on any machine.
cat >"$SLURM_CONF" <<CONF
ClusterName=kd_jax
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
KillWait=60
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 60); do
  if [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; then
    echo "export SLURM_CONF=$SLURM_CONF"
    exit 0
  fi
  sleep 0.5
done
echo "no Slurm after 30 seconds; see $place/*.log" >&2
exit 1
