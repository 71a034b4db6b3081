r"""Training from the command line.

python -m train data shared/data/photos
python -m train all --photos shared/data/photos --paintings shared/data/styles --backbones shared/weights --minutes 240
python -m train evaluate --photos shared/data/photos_val.tar --backbones shared/weights --json
python -m train export runs/fused/checkpoint.pt --photos shared/data/photos --paintings shared/data/styles \
    --exemplars shared/data/styles_demo
"""

from train.cli import main

if __name__ == "__main__":
    main()
