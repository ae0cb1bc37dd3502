# Per pixel, on drawn scenes.
prepare = {
    'data/scenes': ['dataset_converters/make_scenes.py', 'data/scenes'],
}
teacher = '../baseline/fcn-r18w16_scenes.py'
rows = {
    'plain student': '../baseline/fcn-r18w4_scenes.py',
    'KD': '../kd/fcn-r18w16_fcn-r18w4_scenes.py',
    'DHKD': '../dhkd/fcn-r18w16_fcn-r18w4_scenes.py',
}
