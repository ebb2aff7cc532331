"""Measures llama.cpp on a random Llama decoder of PerceptionLM's shapes.

    python benches/reference/llama_cpp_decoder.py [--size 1b] [--formats bf16,q8_0,q4_0] [--json]

The vision tower has no counterpart there. Weights are written to a temporary GGUF file of each
format; the quantised ones hold the output projection in q8_0, as `plm` does. Times are medians.

Needs: numpy, gguf, llama-cpp-python (built from source for the machine's instructions).
"""

import argparse
import ctypes
import json
import os
import tempfile
import time

import gguf
import llama_cpp
import numpy as np

SIZES = {  # hidden, intermediate, layers, heads, key-value heads, head_dim
    "tiny": (64, 128, 2, 4, 2, 16),
    "1b": (2048, 8192, 16, 32, 8, 64),
    "3b": (3072, 8192, 28, 24, 8, 128),
    "8b": (4096, 14336, 32, 32, 8, 128),
}
VOCABULARY = 128256
SHORT = 306
ANSWER = 32
TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}


def write(path, size, kind):
    hidden, inner, layers, heads, kv_heads, head_dim = SIZES[size]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(11520)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("no_vocab")
    rng = np.random.default_rng(0)

    def matrix(name, rows, columns, kind=kind):
        values = rng.random((rows, columns), dtype=np.float32) * 2 - 1
        values *= np.sqrt(3 / columns)
        data = gguf.quants.quantize(values, TYPES[kind])
        writer.add_tensor(name, data, raw_dtype=TYPES[kind])

    output = kind if kind in ("f32", "bf16") else "q8_0"
    matrix("token_embd.weight", VOCABULARY, hidden, output)
    for layer in range(layers):
        name = f"blk.{layer}."
        matrix(name + "attn_q.weight", heads * head_dim, hidden)
        matrix(name + "attn_k.weight", kv_heads * head_dim, hidden)
        matrix(name + "attn_v.weight", kv_heads * head_dim, hidden)
        matrix(name + "attn_output.weight", hidden, heads * head_dim)
        matrix(name + "ffn_gate.weight", inner, hidden)
        matrix(name + "ffn_up.weight", inner, hidden)
        matrix(name + "ffn_down.weight", hidden, inner)
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{name}{norm}.weight", np.ones(hidden, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measure(path, threads, repeat):
    params = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_load_model_from_file(path.encode(), params)
    if not model:
        raise SystemExit(f"{path} cannot be loaded")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = 512
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = threads
    context = llama_cpp.llama_new_context_with_model(model, params)

    def read(ids, start):
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i == len(ids) - 1
        if llama_cpp.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        best = int(np.ctypeslib.as_array(logits, shape=(VOCABULARY,)).argmax())
        llama_cpp.llama_batch_free(batch)
        return best

    prefill, decode = [], []
    for _ in range(repeat + 1):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        start = time.perf_counter()
        token = read([i * 7919 % VOCABULARY for i in range(SHORT)], 0)
        prefill.append(time.perf_counter() - start)
        start = time.perf_counter()
        for i in range(ANSWER):
            token = read([token], SHORT + i)
        decode.append(ANSWER / (time.perf_counter() - start))
    llama_cpp.llama_free(context)
    llama_cpp.llama_free_model(model)
    middle = lambda values: sorted(values[1:])[repeat // 2]
    return {"prefill_s": middle(prefill), "decode_tokens_per_s": middle(decode)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--formats", default="bf16,q8_0,q4_0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p())
    llama_cpp.llama_backend_init()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.formats.split(","):
            path = os.path.join(folder, "model.gguf")
            write(path, args.size, kind)
            runs[kind] = measure(path, args.threads, args.repeat)
            os.remove(path)
    if args.json:
        print(json.dumps(runs))
        return
    for kind, run in runs.items():
        print(f"{kind:<6} prefill {run['prefill_s']:.2f} s, {run['decode_tokens_per_s']:.2f} tok/s")


if __name__ == "__main__":
    main()
