# Per pixel, on drawn scenes.
prepare = {
    'data/scenes': ['dataset_converters/make_scenes.py', 'data/scenes'],
}
_pair = 'fcn-r18w16_fcn-r18w8_scenes.py'
teacher = '../baseline/fcn-r18w16_scenes.py'
rows = {
    'plain student': '../baseline/fcn-r18w8_scenes.py',
    'KD': f'../kd/{_pair}',
    'DHKD': f'../dhkd/{_pair}',
    'MCLD': f'../mcld/{_pair}',
    "KD + Kendall's tau": f'../kd_kendall-tau/{_pair}',
    'DIST': f'../dist/{_pair}',
    'CWD': f'../cwd/{_pair}',
}
