"""Compares `video_frames` with PyAV on one clip: time and peak memory from the file to frames.

    cargo build --release -p plm-processor --features video --example video_frames
    python benches/reference/video_frames.py CLIP.mp4 --frames 32 --repeat 5

Both choose the frames as the reference does, at equal distances from the first. PyAV seeks to the
key frame before each, decodes up to it with all threads, and converts it to an RGB array; frames
that lie behind the last one in the same group of pictures are reached without a new seek. With
`--sequential` it decodes everything up to the last chosen frame, as the reference's own PyAV
backend does. Ours also cuts the tiles. The two take turns, each in a process of its own. On a machine that does other
things besides, compare the seconds of processor time. Needs PyAV and numpy.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def peer(clip, count, sequential):
    """Decodes the frames with PyAV, in this process."""
    import av
    import numpy  # noqa: F401 - what an array needs is no part of the measurement

    def peak_mb():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

    idle_mb = peak_mb()
    start = time.perf_counter()
    # The index of the container: what frame has which time, and where decoding can begin.
    with av.open(clip) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        times = sorted(packet.pts for packet in packets)
        keys = sorted(packet.pts for packet in packets if packet.is_keyframe)
    indices = [int(index * len(times) / count) for index in range(count)]
    opened_s = time.perf_counter() - start
    frames = []
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoder, at = None, None
        for pts in (times[index] for index in indices):
            key = max(key for key in keys if key <= pts)
            if decoder is None or (not sequential and key > at):
                container.seek(key, stream=stream)
                decoder = container.decode(stream)
            for frame in decoder:
                at = frame.pts
                if at >= pts:
                    break
            assert at == pts, (at, pts)
            frames.append(frame.to_ndarray(format="rgb24"))
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "frames": len(frames),
                "opened_s": round(opened_s, 3),
                "seconds": round(seconds, 3),
                "idle_mb": round(idle_mb, 1),
                "peak_mb": round(peak_mb(), 1),
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--ours", default=ROOT / "target/release/examples/video_frames")
    parser.add_argument("--sequential", action="store_true", help="let PyAV decode without seeking")
    parser.add_argument("--peer", action="store_true", help="only run PyAV, once")
    args = parser.parse_args()
    if args.peer:
        peer(args.clip, args.frames, args.sequential)
        return
    count = str(args.frames)
    commands = {
        "plm": [str(args.ours), args.clip, count],
        "PyAV": [sys.executable, __file__, args.clip, "--frames", count, "--peer"],
    }
    if args.sequential:
        commands["PyAV"].append("--sequential")
    runs = {name: [] for name in commands}
    for _ in range(args.repeat):
        for name, command in commands.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            runs[name].append(json.loads(result.stdout) | {"cpu_s": round(cpu_s, 2)})
            print(name, json.dumps(runs[name][-1]), file=sys.stderr)
    for name, results in runs.items():
        seconds = statistics.median(run["seconds"] for run in results)
        cpu_s = statistics.median(run["cpu_s"] for run in results)
        over_idle = statistics.median(run["peak_mb"] - run["idle_mb"] for run in results)
        print(f"{name}: median {seconds:.2f} s, {cpu_s:.2f} s of all cores (with its start), {over_idle:.0f} MB over idle")
    for what in ("seconds", "cpu_s"):
        pairs = zip(runs["plm"], runs["PyAV"], strict=True)
        ratios = sorted(round(ours[what] / theirs[what], 2) for ours, theirs in pairs)
        print(f"{what} of plm / of PyAV: median {statistics.median(ratios):.2f} of {ratios}")


if __name__ == "__main__":
    main()
