"""Packaging of ecc_jax. Version bounds are the ranges the test suite was run with."""

from pathlib import Path

import setuptools

CORE = [
    "jax>=0.10,<0.12",
    "flax>=0.12,<0.13",
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12,<0.13",
    "grain>=0.2.18,<0.3",
    "numpy>=2.2,<3",
    "scipy>=1.15,<2",
    "ml-collections>=1.1,<2",
    "tensorflow-datasets>=4.9.10,<5",
    # tensorflow-datasets needs importlib_resources on every Python, but does not say so.
    "importlib_resources>=6",
    "array-record>=0.8,<0.9",
    "scikit-image>=0.26,<0.27",
    "clu>=0.0.12,<0.1",
    "tensorboardX>=2.6.2,<3",
    "nibabel>=5.3,<6",
    "pydicom>=3.0.2,<4",
    "defusedxml>=0.7.1",
    "matplotlib>=3.10,<4",
    "tqdm>=4.66",
    "jaxtyping>=0.3.3,<0.4",
    "absl-py>=2.1",
    "psutil>=5.9",
]

# Colab has its own ipywidgets 7, which its front end needs.
NOTEBOOK = ["ipywidgets>=7.7.1,<9", "matplotlib-inline>=0.1.6", "packaging>=24", "pillow>=10"]

ANNOTATOR = ["starlette>=1.0,<2", "uvicorn>=0.40,<1", "highdicom>=0.28,<0.29", "pynrrd>=1.1,<2"]

EXTRAS = {
    "cuda": ["jax[cuda12]>=0.10,<0.12"],
    "tpu": ["jax[tpu]>=0.10,<0.12"],
    # Decoders of compressed DICOM: JPEG (lossless too), JPEG-LS, JPEG 2000, HTJ2K.
    "dicom": ["python-gdcm>=3.0.24", "pylibjpeg[openjpeg]>=2.0"],
    # Public weights in the safetensors format.
    "convert": ["safetensors>=0.7,<1"],
    # What scripts/colab_evaluation.ipynb needs beside Jupyter itself.
    "notebook": NOTEBOOK,
    # The browser tool, and the DICOM segmentations and reports that it saves.
    "annotator": ANNOTATOR,
    "test": [
        *NOTEBOOK,
        "nbclient>=0.10,<1",
        "nbformat>=5.10,<6",
        "ipykernel>=6.29,<8",
        "safetensors>=0.7,<1",
        *ANNOTATOR,
        "pytest>=8.3",
        "pytest-xdist>=3.6",
        "hypothesis>=6.130",
        "beartype>=0.20",
        # Drives the Chromium of the system; browsers of its own are never downloaded.
        "playwright>=1.65,<2",
        # Formatting differs between minor versions.
        "ruff>=0.17,<0.18",
        "mypy>=2.4,<3",
        # jax.export serialises with flatbuffers, which jax does not declare.
        "flatbuffers>=24",
    ],
}

setuptools.setup(
    name="ecc_jax",
    version="0.1.0",
    description="Interactive tumour segmentation in CT with dynamic radius disks, in JAX",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["ecc_jax*", "tfds_builders*"]),
    package_data={
        "ecc_jax": ["py.typed", "shipped/**/*", "annotator/static/*"],
        "tfds_builders": ["*/README.md"],
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
