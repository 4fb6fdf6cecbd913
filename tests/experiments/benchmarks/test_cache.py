"""The benchmark of the cache counts bytes right."""

from experiments import pages
from experiments.benchmarks import cache


def test_bytes_of_a_record_and_in_files():
  record, files = cache.sizes({'logits': (100,)}, {'dtype': 'int8'})
  assert record == 100 + 4
  # Noise does not compress; a file is filled up to 64 kB.
  assert 90 < files < 120


def test_the_section_has_markers_of_its_own(tmp_path):
  path = tmp_path / 'README.md'
  path.write_text('a\n<!-- cache -->\nold\n<!-- end of cache -->\nb\n')
  pages.keep(path, cache.SECTION, 'new')
  assert path.read_text() == (
    'a\n<!-- cache -->\nnew\n<!-- end of cache -->\nb\n'
  )
