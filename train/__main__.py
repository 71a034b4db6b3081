"""Training from the command line.

python -m train data shared/data/photos
python -m train colour --photos shared/data/photos --backbones shared/weights --run runs --minutes 60
python -m train evaluate --photos shared/data/photos_val.tar --backbones shared/weights --json
python -m train export runs/colour/checkpoint.pt --name natural
"""

from train.cli import main

if __name__ == "__main__":
    main()
