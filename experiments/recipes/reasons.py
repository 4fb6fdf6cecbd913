"""Why a recipe has another value than its source: {setting: reason}."""

_PROTOCOL = 'made for another pair; here on the protocol of the thirteen pairs'


def _protocol(*settings: str) -> dict[str, str]:
  return dict.fromkeys(settings, _PROTOCOL)


_MM = _protocol('epochs', 'batch_size', 'learning_rate', 'drops', 'factor')

_OFA = _protocol(
  'epochs',
  'batch_size',
  'learning_rate',
  'drops',
  'weight_decay',
  'hard.smoothing',
)

REASONS = {
  ('cifar100', 'ft'): {
    'epochs': 'its paraphraser learns in the first 30 of 240 epochs, not '
    'before them, while the labels train the student'
  },
  ('cifar100', 'wttm'): {
    'embeddings': 'the source shows WTTM beside CRD alone; here it is without'
  },
  ('cifar100', 'nkd'): _MM,
  ('cifar100', 'wsld'): _MM,
  ('cifar100', 'mgd'): _MM,
  ('cifar100', 'ofa'): {
    **_OFA,
    'exits': 'its exits are left out; the loss on the last logits is there',
    'exits.eps': 'as exits',
    'exits.temperature': 'as exits',
  },
  ('cifar100', 'ofa+exits'): _OFA,
  ('cifar100', 'wkd_l'): {
    'soft.cost': "the likeness of classes is by the teacher's classifier, its "
    'option fc; that of its files is by features of all images'
  },
  ('cifar100', 'afd'): {
    'learning_rate': 'its program has no light student; here they train at '
    'the rate of the thirteen pairs'
  },
  ('cifar100', 'sskd'): {
    'epochs': 'the projection learns in the first 60 of 240 epochs, not before '
    'them, while labels and soft loss train the student'
  },
}
