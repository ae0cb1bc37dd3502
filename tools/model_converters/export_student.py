"""Take the plain student out of a distiller's checkpoint.

The result loads into the plain model of mmpretrain or mmseg, without this package. If
the run averaged its weights (EMAHook), these are the averaged ones.
"""

import argparse

from mmengine.runner import save_checkpoint

from mmkd_logit.models.distillers import student_checkpoint
from mmkd_logit.models.teachers import read_checkpoint, weights_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help="the distiller's checkpoint")
    parser.add_argument('out', help='file for the student')
    args = parser.parse_args()
    checkpoint = read_checkpoint(args.checkpoint)
    student = student_checkpoint(weights_of(checkpoint), checkpoint.get('meta', {}))
    save_checkpoint(student, args.out)
    print(f'{len(student["state_dict"])} tensors of the student are in {args.out}.')


if __name__ == '__main__':
    main()
