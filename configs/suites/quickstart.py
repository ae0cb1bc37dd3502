# The first rows of the suite digitpairs.
teacher = '../baseline/res20_digitpairs.py'
rows = {
    'plain student': '../baseline/res8w8_digitpairs.py',
    'KD': '../kd/res20_res8w8_digitpairs.py',
    'DHKD': '../dhkd/res20_res8w8_digitpairs.py',
}
