teacher = '../baseline/res20_digitpairs.py'
rows = {
    'plain student': '../baseline/res8_digitpairs.py',
    'DHKD': '../dhkd/res20_res8_digitpairs.py',
}
