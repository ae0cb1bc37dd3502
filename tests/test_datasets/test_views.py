"""A view is a function of seed, view and index, whoever makes it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import TRANSFORMS

from mmkd_logit.datasets import ViewDataset
from mmkd_logit.datasets.views import view_key
from mmkd_logit.rng import kept_rng, seed_cpu
from mmkd_logit.views import takes_views, with_views, without_views

IMAGES, BATCH = 22, 4


@TRANSFORMS.register_module()
class DrawsThrice:
    """Adds what the generators of Python, NumPy and torch give."""

    def __call__(self, results: dict) -> dict:
        drawn = random.random() + np.random.rand() + torch.rand(()).item()
        results['img'] = results['img'].astype(np.float32) + drawn
        return results


def plain_loader(infinite: bool = False, **settings: Any) -> dict:
    pipeline = [
        dict(type='RandomCrop', crop_size=8, padding=1),
        dict(type='DrawsThrice'),
        dict(type='PackInputs'),
    ]
    return dict(
        batch_size=BATCH,
        num_workers=0,
        dataset=dict(type='mmkd_logit.Digits', pipeline=pipeline, indices=IMAGES),
        sampler=dict(type='InfiniteSampler' if infinite else 'DefaultSampler'),
        collate_fn=dict(type='default_collate'),
        **settings,
    )


def build(teacher: dict, infinite: bool = False, **settings: Any) -> Any:
    loader = with_views({**plain_loader(infinite), **settings}, teacher)
    return Runner.build_dataloader(loader, seed=3)


def images_in(batches: Any) -> dict[tuple[int, int], torch.Tensor]:
    """Images by view and index."""
    return {
        sample.get('teacher_view'): image
        for batch in batches
        for image, sample in zip(batch['inputs'], batch['data_samples'])
    }


@pytest.fixture(scope='module')
def expected() -> dict[tuple[int, int], torch.Tensor]:
    """All images in two views, made one by one."""
    dataset = build(dict(views=2)).dataset
    return {
        (view, index): dataset[view_key(view, index)]['inputs']
        for index in reversed(range(IMAGES))
        for view in (1, 0)
    }


def assert_equal(found: dict, expected: dict) -> None:
    for place, image in found.items():
        assert torch.equal(image, expected[place])


def test_views_differ(expected: dict) -> None:
    flat = torch.stack([image.flatten() for image in expected.values()])
    assert len(flat.unique(dim=0)) == 2 * IMAGES
    other = build(dict(views=2, view_seed=1)).dataset
    for place, image in expected.items():
        assert not torch.equal(other[view_key(*place)]['inputs'], image)
    assert torch.equal(other[3]['inputs'], other[view_key(0, 3)]['inputs'])


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(num_workers=1),
        dict(num_workers=2, persistent_workers=True),
    ],
)
def test_epochs_in_any_number_of_workers(settings: dict, expected: dict) -> None:
    loader = build(dict(views=2), **settings)
    for epoch in range(3):
        torch.manual_seed(epoch)
        loader.sampler.set_epoch(epoch)
        found = images_in(loader)
        assert set(found) == {(epoch % 2, index) for index in range(IMAGES)}
        assert_equal(found, expected)


@pytest.mark.parametrize('world', [1, 3])
@pytest.mark.parametrize('workers', [0, 2])
def test_a_stream_of_several_processes(
    world: int, workers: int, expected: dict
) -> None:
    """The passes of all ranks together, which end in the middle of a batch."""
    seen: list[tuple[int, int]] = []
    for rank in range(world):
        loader = build(dict(views=2), infinite=True, num_workers=workers)
        inner = loader.sampler.sampler
        inner.rank, inner.world_size = rank, world
        batches = [b for b, _ in zip(loader, range(12 // world))]
        assert_equal(images_in(batches), expected)
        seen += [
            s.get('teacher_view') for batch in batches for s in batch['data_samples']
        ]
    views = sorted(seen)
    # 48 images of 22: all in views 0 and 1, then four more in view 0.
    assert len(views) == 48
    assert set(views) == set(expected)
    assert len([view for view, _ in views if view == 1]) == IMAGES


def places_of(loader: Any, batches: int) -> list[tuple[int, int]]:
    """View and index of the next images."""
    return [
        sample.get('teacher_view')
        for batch, _ in zip(loader, range(batches))
        for sample in batch['data_samples']
    ]


def test_a_resumed_stream_goes_on() -> None:
    whole = places_of(build(dict(views=9), True), 14)
    loader = build(dict(views=9), True)
    skip = getattr(loader.sampler, 'skip', None)
    if skip is None:
        pytest.skip('this release of mmengine goes through the images')
    skip(9 * BATCH)
    assert places_of(loader, 5) == whole[9 * BATCH :]
    assert {view for view, _ in whole} == {0, 1, 2}
    assert not hasattr(build(dict(views=2)).sampler, 'skip')


def test_generators_are_put_back(expected: dict) -> None:
    def states() -> list:
        name, keys, *rest = np.random.get_state()
        of_torch = torch.get_rng_state().tolist(), torch.initial_seed()
        return [random.getstate(), name, keys.tolist(), rest, of_torch]

    dataset = build(dict(views=2)).dataset
    before = states()
    assert torch.equal(dataset[view_key(1, 4)]['inputs'], expected[1, 4])
    with pytest.raises(ValueError), kept_rng():
        seed_cpu(1, 2)
        raise ValueError
    assert states() == before


def test_what_is_around_the_data_set_stays() -> None:
    loader = build(dict(views=2))
    assert loader.dataset.metainfo['classes'] == tuple('0123456789')
    assert len(loader.dataset) == len(loader.sampler) == IMAGES
    sample = loader.dataset[view_key(1, 5)]['data_samples']
    assert sample.get('sample_idx') == 5
    assert sample.to('cpu').get('teacher_view') == (1, 5)


def test_repeated_augmentation_is_refused() -> None:
    sampler = dict(type='RepeatAugSampler')
    with pytest.raises(ValueError, match='once per epoch, .*RepeatAugSampler does not'):
        build(dict(views=2), sampler=sampler)


def test_neither_views_nor_a_store() -> None:
    with pytest.raises(ValueError, match='needs either a number of views or a cache'):
        ViewDataset(plain_loader()['dataset'])


def test_the_config_of_a_loader() -> None:
    plain = plain_loader()
    views = with_views(plain, dict(cache='x', views=4, config='y'))
    assert views['dataset'] == dict(
        type='mmkd_logit.ViewDataset', dataset=plain['dataset'], cache='x', views=4
    )
    assert without_views(views) == plain == without_views(plain)
    again = with_views(views, dict(views=3))
    assert again['dataset']['dataset'] == plain['dataset']
    assert 'cache' not in again['dataset']
    with pytest.raises(ValueError, match='without num_batch_per_epoch'):
        with_views({**plain, 'num_batch_per_epoch': 3}, dict(views=3))


@pytest.mark.parametrize(
    ('teacher', 'takes'),
    [
        (dict(config='x', checkpoint=None), False),
        (dict(config='x', views=None), False),
        (dict(config='x', views=1), True),
        (dict(cache='x'), True),
        (None, False),
    ],
)
def test_takes_views(teacher: dict | None, takes: bool) -> None:
    assert takes_views(teacher) == takes
