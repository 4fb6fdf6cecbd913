"""Networks for text leave with their tokenizer, and are run on a text."""

import json
import pathlib

import jax
import numpy as np
import pytest

from kd_jax import checkpoint, export, tasks
from kd_jax.export import formats, meta, parity, predict, source, texts
from kd_jax.export.onnx import writer
from kd_jax.models import base, hugging_face
from tests.helpers import networks_on_disk, texts_on_disk
from tests.helpers import texts as texts_data


def make(tmp_path, name, format, **options):
  """Exports a small network with a tokenizer; network, variables, folder."""
  given = {k: options.pop(k) for k in ('length',) if k in options}
  network, variables = texts_on_disk.save(tmp_path / 'net', name, **options)
  texts_on_disk.write_tokenizer(tmp_path / 'net/tokenizer.json')
  out = tmp_path / 'out'
  export.export(tmp_path / 'net', out, format, seconds=0.0, **given)
  return network, variables, out


def shares(network, variables, ids):
  """Probabilities [L, V] of the network for one text."""
  inputs = {'input_ids': np.array([ids], np.int32)}
  logits = network.apply(variables, inputs)[0]['logits'][0]
  return np.asarray(jax.nn.softmax(logits))


@pytest.mark.slow
def test_the_next_token_of_a_text(tmp_path):
  pytest.importorskip('tokenizers')
  network, variables, out = make(tmp_path, 'gpt2', 'stablehlo')
  described = json.loads((out / meta.FILE).read_text())
  assert described['prepare'] == {'tokenizer': 'tokenizer.json', 'length': 20}
  (row,) = predict.predict(out, 'the cat sat', top=8)
  wanted = shares(network, variables, [3, 4, 6])[-1]
  got = dict(row['classes'])
  for k, word in enumerate(texts_on_disk.WORDS):
    assert got[f"'{word}'"] == pytest.approx(wanted[k], abs=1e-5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """An export of a network that gives the number of each token's place."""
  pytest.importorskip('tokenizers')
  out = tmp_path / 'out'
  out.mkdir()
  (out / 'model').write_bytes(b'')
  texts_on_disk.write_tokenizer(out / 'tokenizer.json')
  sides = ['batch', 'length']
  names = ('input_ids', 'attention_mask')
  described = {
    'format': 'safetensors', 'file': 'model', 'names': 'jax', 'classes': 8,
    'predicts': 'token', 'labels': [*'abcdefgh'], 'says': 'one class',
    'inputs': [{'name': name, 'shape': sides} for name in names],
    'prepare': {'tokenizer': 'tokenizer.json', 'length': 5},
    'network': {'build': {'name': 'bert', 'classes': 8}},
  }  # fmt: skip
  checkpoint.write_json(out / meta.FILE, described)

  def run(inputs):
    assert (inputs['attention_mask'] == 1).all()
    ids = inputs['input_ids']
    return 30.0 * (np.arange(8) == ids[..., None])

  monkeypatch.setattr(predict, 'make_run', lambda *_: run)
  return out


def test_each_kind_of_prediction_has_its_rows(folder):
  for kind, words, wanted in (
    ('token', 'the cat', [('the', 'd'), ('cat', 'e')]),
    ('masked token', 'the [MASK]', [('[MASK]', "'[MASK]'")]),
    ('next token', 'the cat', [('next token', "'cat'")]),
  ):
    labels = [*'abcdefgh'] if kind == 'token' else []
    networks_on_disk.edit(folder / meta.FILE, predicts=kind, labels=labels)
    rows = predict.predict(folder, words, top=1)
    assert [(row['of'], row['classes'][0][0]) for row in rows] == wanted
    assert all(row['classes'][0][1] > 0.999 for row in rows)


@pytest.mark.parametrize(
  'changes, words, message',
  [
    ({}, ' ', 'the text has 0 tokens; legal: 1 to 5'),
    ({}, 'the the the the the the', 'the text has 6 tokens; legal: 1 to 5'),
    ({'predicts': 'states'}, 'the', 'hidden states and no classes'),
    ({'predicts': 'masked token'}, 'the', 'no word to be guessed'),
    (
      {'network': {'build': {'classes': 4}}},
      'the cat',
      'gives the token 4, and the network knows 4',
    ),
    ({'prepare': {'tokenizer': 'gone', 'length': 5}}, 'the', 'has no gone'),
  ],
)
def test_a_wrong_text_is_one_line(changes, words, message, folder, capsys):
  networks_on_disk.edit(folder / meta.FILE, **changes)
  assert predict.main([str(folder), words]) == 2
  out, err = capsys.readouterr()
  assert out == '' and err.count('\n') == 1 and message in err


def test_a_damaged_tokenizer_is_one_line(folder, capsys):
  (folder / 'tokenizer.json').write_text('{}')
  assert predict.main([str(folder), 'the']) == 2
  assert "tokenizer.json' is no tokenizer" in capsys.readouterr().err


FAMILIES = {
  'bert': {},
  'distilbert': dict(head='sequence', classes=3, vocabulary=8),
  'roberta': dict(head='token', classes=3, vocabulary=8),
  'gpt2': {},
  'llama': {},
  'qwen3': {},
  'gemma2': {},
  'gemma3': {},
  't5': {},
}


@pytest.mark.slow
@pytest.mark.parametrize('name', FAMILIES)
def test_onnxruntime_gives_the_same_logits(name, tmp_path):
  """At any length and batch; T5 at one length."""
  pytest.importorskip('onnxruntime')
  network, variables = texts_on_disk.save(
    tmp_path / 'net', name, **FAMILIES[name]
  )
  student = source.load(tmp_path / 'net')
  shape = texts.shape_of(student, 8 if name == 't5' else 0)
  work = formats.Job(network, variables, shape, {}, '', 'jax', None)
  writer.write(work, tmp_path / 'model.onnx')
  run = writer.make_run(work, tmp_path / 'model.onnx')
  whole = texts.sequences(student, shape)
  forward = jax.jit(base.make_forward(network))
  for count, length in ((8, 20), (1, 5)):
    length = shape.length or length
    inputs = {k: x[:count, :length] for k, x in whole.items()}
    wanted = np.asarray(forward(variables, inputs))
    bound = 1e-5 * np.abs(wanted).max()
    np.testing.assert_allclose(run(inputs), wanted, rtol=0, atol=bound)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['distilbert', 'gpt2'])
def test_int8_rounds_and_no_more(name, tmp_path):
  onnx = pytest.importorskip('onnx')
  pytest.importorskip('onnxruntime')
  texts_on_disk.save(tmp_path / 'net', name, **FAMILIES[name])
  report = export.export(
    tmp_path / 'net', tmp_path / 'out', quantize='int8', seconds=0.0
  )
  assert 1e-4 < report['logits']['mean'] <= parity.MEAN
  assert report['tolerance'] == {'mean': parity.MEAN}
  graph = onnx.load(tmp_path / 'out/model.onnx').graph
  kinds = {x.data_type for x in graph.initializer}
  assert onnx.TensorProto.UINT8 in kinds and onnx.TensorProto.INT8 not in kinds
  # No weights of layers are left in f32.
  assert max(
    np.prod(x.dims)
    for x in graph.initializer
    if x.data_type == onnx.TensorProto.FLOAT
  ) <= 2 * max(texts_on_disk.SIZES.values())
  assert '8-bit' in (tmp_path / 'out/card.md').read_text()


@pytest.mark.slow
def test_words_and_classes_are_named(tmp_path, capsys):
  """A masked word; classes called as in a folder of Hugging Face."""
  pytest.importorskip('tokenizers')
  network, variables, out = make(tmp_path, 'bert', 'safetensors')
  (row,) = predict.predict(out, 'the [MASK] sat', top=8)
  wanted = shares(network, variables, [3, 2, 6])[1]
  assert row['of'] == '[MASK]'
  assert dict(row['classes'])["'dog'"] == pytest.approx(wanted[5], abs=1e-5)
  assert predict.main([str(out), 'the cat sat']) == 2
  assert 'no word to be guessed' in capsys.readouterr().err
  place, again = tmp_path / 'hub', tmp_path / 'again'
  build = dict(head='sequence', classes=2, vocabulary=8)
  texts_on_disk.save(tmp_path / 'classifier', 'distilbert', **build)
  export.export(tmp_path / 'classifier', place, 'huggingface', seconds=0.0)
  texts_on_disk.write_tokenizer(place / 'tokenizer.json')
  path = place / hugging_face.CONFIG
  names = {'id2label': {'0': 'good', '1': 'bad'}}
  path.write_text(json.dumps({**json.loads(path.read_text()), **names}))
  export.export(place, again, 'safetensors', seconds=0.0)
  (row,) = predict.predict(again, 'the dog ran')
  assert {name for name, _ in row['classes']} == {'good', 'bad'}
  assert sum(x for _, x in row['classes']) == pytest.approx(1)


def save(folder, task: str, **options):
  """A small network for a task of `texts.data`; its data set."""
  name = 'llama' if task == 'language' else 'bert'
  data = texts_data.data(task, **options)
  more = {}
  if name == 'bert':
    head = texts_data.HEADS.get(task, 'sequence')
    more = {'head': head, 'vocabulary': data.vocabulary}
  texts_on_disk.save(folder, name, classes=data.classes, **more)
  return data


@pytest.mark.slow
@pytest.mark.parametrize('task', texts_data.LABELS)
def test_test_texts_are_compared(task, tmp_path):
  """And the score is that of the task, on the test set."""
  pytest.importorskip('onnxruntime')
  data = save(tmp_path / 'net', task)
  told = {'data': data, 'seconds': 0.0}
  report = export.export(tmp_path / 'net', tmp_path / 'out', **told)
  name = tasks.make_task(task).score
  assert report['examples'] == texts_data.TEST
  assert report['agreement'] == 1 and report['logits']['largest'] < 1e-5
  score = report[name]
  assert score['exported'] == pytest.approx(score['jax'], rel=1e-4, nan_ok=True)
  described = meta.read(tmp_path / 'out')
  assert described['data']['name'] == data.name
  assert described['says'] == tasks.make_task(task).says
  assert 'test texts' in (tmp_path / 'out/card.md').read_text()


def test_of_packed_rows_the_first_text_is_read():
  inputs = {
    'input_ids': np.arange(8).reshape(2, 4),
    'segment_ids': np.array([[1, 1, 2, 2], [1, 1, 1, 0]]),
  }
  names = ('input_ids', 'attention_mask')
  read, mask = parity._of_text(inputs, np.ones((2, 4), 'f4'), names)
  assert set(read) == set(names)
  wanted = [[1, 1, 0, 0], [1, 1, 1, 0]]
  assert read['attention_mask'].tolist() == mask.tolist() == wanted


def test_data_of_others_are_refused(tmp_path):
  texts_on_disk.save(tmp_path / 'net', 'llama', classes=5)
  for data, message in (
    (texts_data.data(), "for 5 tokens and 5 classes; 'arrays' has 17 and 17"),
    (networks_on_disk.data(), "is for text; 'arrays' has images"),
  ):
    with pytest.raises(ValueError, match=message):
      export.export(
        tmp_path / 'net', tmp_path / 'out', 'safetensors', data=data
      )


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(names='torch'), "--names is for safetensors, not for 'onnx'"),
    (dict(output='classes'), "of a segmenter, and 'gpt2' is none"),
    (dict(length=21), '--length 21; legal: 0 .any. to 20'),
    (dict(tokenizer='nowhere.json'), 'nowhere.json is no tokenizer.json'),
    (dict(quantize='bf16'), "'onnx' cannot hold bf16"),
  ],
)
def test_a_mistake_is_one_line_before_any_work(options, message, tmp_path):
  pytest.importorskip('onnxruntime')
  texts_on_disk.save(tmp_path / 'net', 'gpt2')
  with pytest.raises(ValueError, match=message):
    export.export(tmp_path / 'net', tmp_path / 'out', **options)
  assert [x.name for x in pathlib.Path(tmp_path).iterdir()] == ['net']


def test_a_network_of_one_length_says_what_to_do(tmp_path):
  pytest.importorskip('onnxruntime')
  texts_on_disk.save(tmp_path / 'net', 't5')
  with pytest.raises(ValueError, match='--length L fixes the length') as caught:
    export.export(tmp_path / 'net', tmp_path / 'out')
  assert '\n' not in str(caught.value)
