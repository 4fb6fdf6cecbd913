"""The classical findings: what rows say, no more; and the config of them."""

import pathlib

import numpy as np
import pytest

from experiments import classical as program
from experiments import findings
from experiments.configs import classical, first
from kd_jax import checkpoint, sweep
from kd_jax.compare import results

ROOT = pathlib.Path(__file__).resolve().parents[2]


def row(name: str, words: str, score: float, **more) -> dict:
  """A row of eight replicates about a score; the student alone has 0.8."""
  # The replicates differ by more than the settings, all alike.
  common = 0.05 * np.cos(np.arange(8))
  rng = np.random.default_rng([*f'{name}{words}{more}'.encode()])

  def numbers(middle):
    noise = rng.normal(size=8)
    return (middle + common + 0.001 * (noise - noise.mean())).tolist()

  alone = {'test': numbers(0.8), 'agreement': numbers(0.7), 'kl': numbers(0.3)}
  return {
    'sweep': name,
    'words': words,
    'decay': 0.3,
    'validation': score,
    'test': numbers(score),
    'agreement': numbers(score - 0.05),
    'kl': numbers(1 - score),
    'alone': alone,
    'teacher': numbers(0.9 + 0.02 * (words == 'ensemble')),
    **more,
  }


SCORES = {'wrong_0': 0.8, 'wrong_0.2': 0.82, 'wrong_0.35': 0.84}
BETTER = {'ensemble', 'by_32', 'wrong_0+from_0.2', 'mix'}


def rows() -> list[dict]:
  """A row for every setting of every sweep."""
  made = {}
  for name, make in program.SWEEPS.items():
    for setting in make():
      words = setting['arg'].partition('@')[0]
      rest = {
        k: v for k, v in setting.items() if k not in ('arg', program.DECAY)
      }
      score = SCORES.get(words, 0.86) + 0.01 * (words in BETTER)
      score += 1e-4 * rest.get('train.epochs', 0)
      made[name, words, *rest.values()] = row(name, words, score, **rest)
  return list(made.values())


ROWS = rows()


def test_what_holds_is_bold_and_counted():
  shown = program.shown(ROWS)
  assert list(shown) == list(findings.FINDINGS)
  text = {name: program.paragraph(name, f) for name, f in shown.items()}
  assert 'distilled - alone, 50 % wrong **+6.0** (+5.' in text['noise']
  assert 'distilled - alone, 0 % wrong +0.0 (' in text['noise']
  assert 'Here it reproduces. ' in text['noise']
  assert 'is not seen: 0 of 4 hold. ' in text['temperature']
  assert 'reproduces in part: 1 of 5 hold. ' in text['gap']
  # Clean labels: a smoothed teacher was to hurt, and helps.
  assert ': 0 of 1 hold, 1 the other way' in text['smoothing']
  assert f'{program.COMMAND} smoothed from_smoothed`' in text['smoothing']


def test_the_differences_are_paired():
  # Each replicate has its own level, some points apart: of no account.
  numbers = findings.judged(findings.ensemble(ROWS))
  for title, middle in (('teacher', 0.02), ('student', 0.01)):
    low, high = numbers[f'4 teachers - one, the {title}']['interval']
    assert middle - 0.003 < low < middle < high < middle + 0.003


def test_a_finding_waits_for_all_its_sweeps():
  some = [r for r in ROWS if r['sweep'] in ('noise', 'patience', 'smoothed')]
  assert list(program.shown(some)) == ['noise', 'patience']
  with pytest.raises(ValueError, match="no row of 'by_32'"):
    findings.gap([r for r in ROWS if r['words'] != 'by_32'])


def test_fidelity_correlates_in_each_replicate():
  patient = [r for r in ROWS if r['sweep'] == 'patience']
  assert findings.ranked(patient, 'test').tolist() == pytest.approx([1] * 8)
  assert (findings.ranked(patient, 'kl') < 0).all()


def test_every_finding_has_a_panel():
  for finding in program.shown(ROWS).values():
    picture = findings.panel(finding)
    for line in finding.lines.values():
      assert all(x.split('\n')[0] in picture for x in line if type(x) is str)


def networks(folder: pathlib.Path, score: float, decay: float) -> None:
  """The networks of a run: less decay is better distilled, more is alone."""
  for who in ('student', 'baseline'):
    shift = decay if who == 'student' else -decay
    network = folder / 'networks' / who
    network.mkdir(parents=True)
    checkpoint.write_json(
      network / 'network.json',
      {'select': 'best', 'validation': {'best': score - shift}},
    )


def test_rows_take_the_decay_that_validation_chose(tmp_path, monkeypatch):
  sweeps = sweep.product(
    sweep.grid('arg', 'mix@1', 'mix@2'), sweep.grid(program.DECAY, 0.1, 0.3)
  )
  monkeypatch.setattr(program, 'SWEEPS', {'patience': lambda: sweeps})
  reports = {}
  for name, setting in sweep.expand(sweeps).items():
    number, decay = int(setting['arg'][-1]), setting[program.DECAY]
    folder = tmp_path / name
    networks(folder, 0.8, decay)
    reports[folder] = {
      'teacher': 'teacher',
      'networks': {
        who: {'accuracy': number / 10 + decay, 'agreement': 0.5, 'kl': 0.1}
        for who in ('student', 'baseline', 'teacher')
      },
    }
  monkeypatch.setattr(results, 'read_report', reports.__getitem__)
  (chosen,) = program.rows_of(tmp_path, 'patience')
  assert (chosen['words'], chosen['decay']) == ('mix', 0.1)
  assert chosen['test'] == [0.2, 0.3]
  assert chosen['alone']['decay'] == 0.3
  assert chosen['alone']['test'] == [0.4, 0.5]


def test_the_config_is_what_it_says():
  plain, base = first.get_config(), classical.get_config('@3')
  assert base.data.split_seed == base.data.seed == 3
  assert base.seed == base.teacher.seed == 103
  assert base.train == plain.train and base.terms == plain.terms
  both = classical.get_config('wrong_0.2+teacher_64@2')
  assert both.data.wrong_labels == 0.2 and both.networks.teacher.hidden == 64
  chain = classical.get_config('by_32')
  assert chain.networks.assistant.hidden == 32
  assert chain.terms.soft.teacher == 'before'
  several = classical.get_config('ensemble').scheme.teachers
  assert len(several) == classical.MEMBERS
  with pytest.raises(ValueError, match='unknown argument'):
    classical.get_config('tacher_3')


def test_a_smoothed_teacher_is_trained_as_a_teacher_and_found_again():
  c = classical.get_config('wrong_0+labels_0.2@4')
  teacher = first.get_config()
  assert c.terms.hard.smoothing == 0.2 and 'soft' not in c.terms
  assert c.networks.student == teacher.networks.teacher
  assert c.train.augment == teacher.teacher.augment
  load = classical.get_config('wrong_0+from_0.2@4').networks.teacher.load
  left = sweep.expand(classical.sweep_smoothed())
  assert pathlib.Path(load).parts[-3] in left
  folders = {
    pathlib.Path(classical.get_config(s['arg']).networks.teacher.load)
    for s in classical.sweep_from_smoothed()
  }
  assert {folder.parts[-3] for folder in folders} == set(left)


def section(page: pathlib.Path) -> str:
  """What lies between the markers of the page."""
  text = page.read_text()
  ends = (f'<!-- {x}{program.SECTION} -->' for x in ('', 'end of '))
  first, last = ends
  return text.split(first, 1)[1].split(last, 1)[0].strip()


def test_the_page_shows_the_rows_of_the_file():
  committed = program.read()
  assert section(ROOT / 'experiments/README.md') == program.text(committed)
  for kept in committed:
    count = len(classical.REPLICATES)
    assert len(kept['test']) == count
    if kept['alone'] is not None:
      assert len(kept['alone']['test']) == count
