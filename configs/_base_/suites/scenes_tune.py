# On scenes kept for choices, with one seed.
prepare = {
    'data/scenes': ['dataset_converters/make_scenes.py', 'data/scenes'],
}
seeds = [0]
options = {
    'val_dataloader.dataset.data_prefix.img_path': 'leftImg8bit/tune',
    'val_dataloader.dataset.data_prefix.seg_map_path': 'gtFine/tune',
}
