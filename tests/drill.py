"""A drill of what a week does to runs: kills, signals, full disks, lost and damaged files. `make drill`, not part of the tests.

A language model and a translation are trained through their command, stopped in every way, and continued by one command line. The
figures, samples and weights at the end must be those of a run that nobody touched, bit for bit, and whatever is damaged must be
told. It prints counts, and ends with exit code 1 if anything was lost or silent.

Every command is a process of its own, forked from one that has imported what a command needs. They share a compilation cache,
which those that are to be killed only read.
"""

import argparse
import importlib
import itertools
import json
import math
import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import jax
import numpy as np

import seqjax
import seqjax.data
import seqjax.models
import seqjax.vision
from experiments import command_line
from experiments.language_model import __main__ as language_model
from experiments.translation import __main__ as translation
from seqjax.train import signals

CACHE, CACHE_WRITES = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
CLOCKS = ("seconds", "per_second", "idle_share")
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "birds", "fly", "over", "old", "hills", "in", "rain"]
SMALL = "--data.batch-size 2 --model.hidden-size 6 --model.embedding-size 4 --loop.log-every 2 --loop.save-every 1"
RUNS = {
    "language_model": (
        language_model,
        f"--data.path text.txt --data.length 8 --loop.steps 24 --loop.eval-every 3 --sample.length 9 --ngrams 2 {SMALL}",
    ),
    "translation": (
        translation,
        f"--data.train pairs.tsv --data.vocabulary-size 200 --loop.steps 12 --loop.eval-every 4 --monitor-pairs 4 "
        f"--search.beam 1 --model.cell elman --model.no-bidirectional --model.attention none --model.bridge final {SMALL}",
    ),
}


class Drill:
    """The runs of one experiment in a folder; `failures` says what was lost or silent."""

    def __init__(self, name: str, folder: pathlib.Path, seed: int):
        self.name, self.folder, self.failures = name, folder, []
        self.program, flags = RUNS[name]
        self.flags, self.draw = flags.split(), random.Random(seed)
        folder.mkdir(parents=True)
        for module in ("matplotlib.backends.backend_agg", "orbax.checkpoint", "sacrebleu", "sentencepiece"):
            importlib.import_module(module)  # once, and not in every process
        words = [self.draw.choice(WORDS) for _ in range(800)]
        (folder / "text.txt").write_text(" ".join(words) + "\n")
        pairs = (" ".join(words[n : n + 4]) for n in range(0, 160, 4))
        (folder / "pairs.tsv").write_text("".join(f"{pair}\t{pair.upper()}\n" for pair in pairs))
        self.output = folder / "output.txt"
        self.check(self.run("train", "--run.dir", "whole") == 0, "the uninterrupted run did not end well")

    def start(self, *arguments: str, descriptors: tuple[int, int] | None = None) -> int:
        """Starts the command in a process of its own, which has imported everything already; returns the process."""
        flags = self.flags if arguments[0] == "train" and "--resume" not in arguments else []

        def command() -> int:
            out = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if descriptors is None else descriptors[0]
            os.dup2(out, 1)
            os.dup2(out if descriptors is None else descriptors[1], 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            return command_line.run_verbs(self.program.PROGRAM, self.program.VERBS, [*arguments, *flags])

        return in_child(command, self.folder)

    def end(self, process: int) -> int:
        """Waits for a process: its exit code, or minus the signal that killed it."""
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        before, found, traceback_of = self.said().partition("Traceback")
        self.check(not found, f"a traceback: {before[-200:]}{found}{traceback_of[:2000]}")
        return code

    def run(self, *arguments: str) -> int:
        return self.end(self.start(*arguments))

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def check(self, good: bool, failure: str):
        if not good:
            self.failures.append(f"{self.name}: {failure}: {self.said()[-300:]}")
            print("FAILED", self.failures[-1], flush=True)

    def copy(self, name: str, source: str = "whole") -> pathlib.Path:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return pathlib.Path(shutil.copytree(self.folder / source, self.folder / name))

    def same(self, name: str, what: str, other: str = "whole"):
        """Compares a run with the uninterrupted one, or with another."""
        self.check(not self.changed(name, other), f"{what}: another {', '.join(self.changed(name, other))}")

    def changed(self, name: str, other: str = "whole", parts: tuple[str, ...] = ("weights", "metrics", "results", "samples")):
        """The parts of a run that are not equal to those of another."""
        reader, writer = os.pipe()

        def compare() -> int:
            one, two = (content_of(self.folder / each) for each in (name, other))
            os.write(writer, " ".join(part for part in parts if not equal(one[part], two[part])).encode())
            return 0

        code = os.waitpid(in_child(compare, self.folder), 0)[1]  # this process must start no backend: it forks
        os.close(writer)
        with os.fdopen(reader) as pipe:
            return ["everything"] if code else pipe.read().split()

    def kills(self, count: int) -> dict[str, int]:
        """Kills a run at random moments, a third of them while it saves, and continues it until it has ended, again and again."""
        jax.config.update(CACHE_WRITES, math.inf)  # a kill would leave a part of a file there
        done = {"kills": 0, "in a save": 0, "before the first step": 0, "runs that ended": 0}
        while done["kills"] < count:
            folder, limit = self.folder / f"killed{done['runs that ended']}", time.monotonic() + 300
            process, in_save = self.start("train", "--run.dir", folder.name, "--resume-if-there"), self.draw.random() < 0.34
            lines, wait = len(lines_of(folder)) + self.draw.randrange(1, 9), self.draw.uniform(0, 0.3)
            early = self.draw.random() < 0.15
            while os.waitpid(process, os.WNOHANG)[0] == 0:
                saving = list(folder.glob("checkpoints/*/*orbax-checkpoint-tmp*"))
                if early or (len(lines_of(folder)) >= lines and (saving or not in_save)) or time.monotonic() > limit:
                    time.sleep(self.draw.uniform(0, 4) if early else 0.0 if in_save else wait)
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, 0)
                    done["kills"] += 1
                    done["in a save"] += bool(list(folder.glob("checkpoints/*/*orbax-checkpoint-tmp*")))
                    done["before the first step"] += not lines_of(folder)
                    break
                time.sleep(0.002)
            else:
                self.check((folder / "results.json").exists(), "a continued run did not end well")
            if (folder / "results.json").exists():
                self.same(folder.name, "killed")
                done["runs that ended"] += 1
        last = f"killed{done['runs that ended']}"
        jax.config.update(CACHE_WRITES, 0.0)
        self.check(self.run("train", "--run.dir", last, "--resume-if-there") == 0, "the last run did not end well")
        self.same(last, "killed")
        return done

    def signals(self) -> dict[str, int]:
        """Stops runs by signals: they save, say so by their exit code, and continue."""
        done = {}
        for number in map(signal.Signals.__getitem__, signals.NAMES):
            name = f"stopped by {number.name}"
            before = signal.signal(number, signal.SIG_DFL)  # in the background, a shell lets SIGINT be ignored
            signal.signal(signal.SIGINT, signal.default_int_handler)
            process = self.start("train", "--run.dir", number.name, "--resume-if-there")
            signal.signal(number, before)
            while len(lines_of(self.folder / number.name)) < 3 and not os.waitid(os.P_PID, process, ENDED):
                time.sleep(0.005)
            os.kill(process, number)
            code = self.end(process)
            self.check(code == 128 + number and "to continue" in self.said(), f"{name}: exit code {code}")
            self.check(self.run("train", "--run.dir", number.name, "--resume-if-there") == 0, f"{name}: not continued")
            self.same(number.name, name)
            done[name] = 1
        return done

    def outputs(self) -> dict[str, int]:
        """Runs whose standard output and error are pipes that nobody reads, or are closed."""
        reader, writer = os.pipe()
        process = self.start("train", "--run.dir", "pipe", descriptors=(writer, writer))
        os.close(reader), os.close(writer)
        self.check(self.end(process) == 0, "a broken pipe ended the run")
        self.same("pipe", "broken pipe")
        command = [shlex.quote(sys.executable), "-m", f"experiments.{self.name}", "train --run.dir closed", *self.flags]
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), CACHE.upper(): getattr(jax.config, CACHE)}
        done = subprocess.run(" ".join([*command, "2>&- >&-"]), shell=True, cwd=self.folder, env=os.environ | paths, check=False)
        self.check(done.returncode == 0, f"closed streams ended the run with {done.returncode}")
        self.same("closed", "closed streams")
        return {"broken pipe": 1, "closed streams": 1}

    def disks(self) -> dict[str, int]:
        """Runs on a disk that is or becomes full, and in a folder that cannot be written; where this user can mount one."""
        disk, done = self.folder / "disk", {"full disk": 0, "read-only folder": 0}
        disk.mkdir()
        for size in (40, 150, 260, 400):
            if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", disk], capture_output=True).returncode:
                return done | {"not tried: no tmpfs can be mounted": 1}
            try:
                code = self.run("train", "--run.dir", "disk/run")
                self.check(code == 2 and self.said().count("error: ") == 1, f"a full disk ended the run with {code}")
                self.check("No space left on device" in self.said() and "disk/run" in self.said(), "a full disk is not named")
                subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
                self.check(self.run("train", "--run.dir", "disk/run", "--resume-if-there") == 0, "full disk: not continued")
                self.copy("full", "disk/run")
                self.same("full", "full disk")
                done["full disk"] += 1
                subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
                for arguments, code in ((("train", "--resume", "disk/run"), 2), (("evaluate", "disk/run"), 0)):
                    found = self.run(*arguments)
                    self.check(found == code and "cannot be written: Read-only file system" in self.said(), "read-only folder")
                    self.check(code == 2 or "_loss " in self.said(), "an evaluation lost its figures")
                done["read-only folder"] += 1
            finally:
                subprocess.run(["umount", disk], check=True)
        return done

    def losses(self) -> dict[str, int]:
        """Runs whose metrics, samples, best or last weights are gone."""
        done = {}
        for lost in ("metrics.jsonl", "samples.jsonl", "checkpoints/best", "checkpoints/last", "results.json", "curves.png"):
            run = self.copy("lost")
            shutil.rmtree(run / lost) if (run / lost).is_dir() else (run / lost).unlink()
            code = self.run("train", "--resume", "lost")
            told = "warning: " in self.said() or lost in ("results.json", "curves.png")
            self.check(code == 0 and told, f"lost {lost}: exit code {code}")
            if lost not in ("checkpoints/best", "checkpoints/last"):  # no step is left to write them again
                self.check(not self.changed("lost", parts=("weights",)), f"lost {lost}: the weights are others")
            done[f"lost {lost}"] = 1
        return done

    def flips(self, each: int) -> dict[str, int]:
        """Flips a bit in every file of a run: a use of it is refused, warned of, or the same as without the flip."""
        done = {"flipped bits": 0, "refused": 0, "warned of": 0, "harmless": 0}
        sample, evaluate = ("sample", "flipped", "--length", "12", "--prompt", "the"), ("evaluate", "flipped")
        use = {"language_model": sample, "translation": evaluate}
        more = ("train", "--resume", "flipped", "--loop.steps", str(int(self.flags[self.flags.index("--loop.steps") + 1]) + 2))
        self.copy("flipped")
        self.run(*use[self.name])
        expected = self.said()
        self.run(*more)
        usual = {*expected.splitlines(), *self.said().splitlines()}  # warnings of small runs among them
        self.copy("trained", "flipped")
        files = [path.relative_to(self.folder / "whole") for path in sorted((self.folder / "whole").rglob("*")) if path.is_file()]
        for file, _ in itertools.product([file for file in files if (self.folder / "whole" / file).stat().st_size], range(each)):
            for arguments in (use[self.name], more):
                path = self.copy("flipped") / file
                content = bytearray(path.read_bytes())
                place = self.draw.randrange(len(content))
                content[place] ^= 1 << self.draw.randrange(8)
                path.write_bytes(content)
                code, said = self.run(*arguments), self.said()
                if code == 2 and "error: " in said:
                    done["refused"] += 1
                elif code == 0 and any(line.startswith("warning: ") for line in {*said.splitlines()} - usual):
                    done["warned of"] += 1
                else:
                    found = said == expected if arguments is not more else not self.changed("flipped", "trained")
                    self.check(code == 0 and found, f"bit {place} of {file} flipped, {arguments[0]}: silent, exit code {code}")
                    done["harmless"] += 1
                done["flipped bits"] += 1
        return done


def lines_of(folder: pathlib.Path) -> list[str]:
    path = folder / "metrics.jsonl"
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def content_of(folder: pathlib.Path) -> dict:
    """The weights, metrics, samples and results of a run, without its clocks and places."""
    with_last = {which: seqjax.load_run(folder, which) for which in ("best", "last")}
    run = with_last["best"]
    metrics = [{k: v for k, v in line.items() if not any(clock in k for clock in CLOCKS)} for line in run.metrics]
    results = {k: v for k, v in run.results.items() if not any(clock in k for clock in CLOCKS)}
    samples = (folder / "samples.jsonl").read_text() if (folder / "samples.jsonl").exists() else ""
    return {"weights": {w: r.params for w, r in with_last.items()}, "metrics": metrics, "results": results, "samples": samples}


def equal(one, other) -> bool:
    """True if two trees are equal, bit for bit."""
    flat = [jax.tree.flatten(tree) for tree in (one, other)]
    if flat[0][1] != flat[1][1]:
        return False
    pairs = zip(flat[0][0], flat[1][0], strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() if hasattr(a, "shape") else a == b for a, b in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(RUNS), help="one experiment")
    parser.add_argument("--parts", nargs="*", default=["signals", "kills", "outputs", "disks", "losses", "flips"])
    parser.add_argument("--kills", type=int, default=25, help="of each experiment")
    parser.add_argument("--flips", type=int, default=1, help="in each file of a run, for each use of it")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failures, counts = 0, {}
    with tempfile.TemporaryDirectory(prefix="drill") as folder:
        jax.config.update(CACHE, os.path.join(folder, "cache"))
        jax.config.update(CACHE_WRITES, 0.0)
        for name in [options.only] if options.only else list(RUNS):
            drill, done = Drill(name, pathlib.Path(folder, name), options.seed), {}
            arguments = {"kills": (options.kills,), "flips": (options.flips,)}
            for part in options.parts:
                done |= getattr(drill, part)(*arguments.get(part, ()))
                print(name, part, json.dumps(done), flush=True)
            counts[name], failures = done, failures + len(drill.failures)
    print(json.dumps(counts, indent=1), f"{failures} failures", sep="\n")
    raise SystemExit(failures > 0)


def in_child(action, folder: pathlib.Path) -> int:
    """Calls a function that returns an exit code in a process of its own, which has imported everything already."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.chdir(folder)
        code = action()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
