# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
#
#   make setup    install everything into .venv (and, as root, what apt must bring)
#   make demo     simulate a warehouse shift, run it live, write report.html
#   make test     every check and test
#   make lint     the checks alone
#   make bench    how fast it runs here
#   make clean    remove all of the above
#
# Each calls setup first, which does nothing the second time. Options of setup:
#   PYTHON=python3.12       the Python to use, 3.10 to 3.13
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu
#                           PyTorch without CUDA: 200 MB instead of several GB. Any PyTorch index will do.

PYTHON ?= python3
VENV := .venv
PREFIX := $(CURDIR)/$(VENV)
BIN := $(VENV)/bin
DONE := $(VENV)/.done
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INTERFACES := pervformer_msgs scripts/tf2_msgs

# A ROS 2 that is sourced in this shell and the one in .venv are not to be mixed.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH

.DELETE_ON_ERROR:
.PHONY: setup demo test lint bench clean

setup: $(DONE)/data

demo: setup
	$(BIN)/pervformer demo

# Two at a time, but for what starts nodes, keeps to real time or sets up.
ALONE := test/nodes test/test_real_recording.py test/test_environment.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope $(ALONE:%=--ignore %)
	$(BIN)/python -m pytest $(ALONE)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

bench: setup
	$(BIN)/python benchmarks/step_speed.py
	$(BIN)/python benchmarks/render_speed.py

clean:
	rm -rf $(VENV) build install log out/demo *.egg-info .mypy_cache .ruff_cache .hypothesis .pytest_cache

# The steps of set-up. A step that ended well leaves a file in $(DONE).

$(DONE)/venv:
	$(PYTHON) scripts/check_system.py
	$(PYTHON) -m venv --clear $(VENV)
	@touch $(VENV)/COLCON_IGNORE
	@mkdir -p $(DONE)
	@touch $@

# An installation that was cut short cannot be told from a whole one by pip, so it starts anew: the
# environment does not count as made while it changes, except when pip itself has cleaned up and given up.
# Modules are compiled when they are first imported; most never are.
$(DONE)/packages: requirements.txt requirements-ros.txt requirements-dev.txt constraints.txt \
                  scripts/prepare_ros.py scripts/ros_startup.py | $(DONE)/venv
	@echo "Installing Python packages and ROS 2 into $(VENV): some minutes"
	@rm $(DONE)/venv
	$(PIP) install --quiet --progress-bar off --use-pep517 --no-compile $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	  -c constraints.txt -r requirements.txt -r requirements-ros.txt -r requirements-dev.txt \
	  || { touch $(DONE)/venv; exit 1; }
	$(BIN)/python scripts/prepare_ros.py
	@touch $(DONE)/venv $@

$(DONE)/messages: export PATH := $(PREFIX)/bin:$(PATH)
$(DONE)/messages: $(shell find $(INTERFACES) -type f) $(DONE)/packages
	@set -e; for package in $(INTERFACES); do \
	  echo "Building $$package"; \
	  build=$(VENV)/build/$$package; mkdir -p $$build; \
	  { cmake -S $$package -B $$build -G Ninja -Wno-deprecated \
	      -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
	      -DCMAKE_PREFIX_PATH="$(PREFIX)" -DCMAKE_INSTALL_PREFIX="$(PREFIX)" \
	      -DPython3_EXECUTABLE="$(PREFIX)/bin/python" \
	    && cmake --build $$build --target install; } >$$build/log.txt 2>&1 \
	  || { cat $$build/log.txt; exit 1; }; \
	done
	@touch $@

# Python files are used where they are; what ROS looks for under share/ is copied.

$(DONE)/package: setup.py setup.cfg $(DONE)/messages
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DONE)/data: package.xml $(shell find launch config models -type f -not -name '*.pyc' 2>/dev/null) $(DONE)/package
	@rm -rf $(VENV)/share/pervformer_ros
	$(BIN)/python -W ignore setup.py --quiet install_data --install-dir $(VENV)
	@touch $@
