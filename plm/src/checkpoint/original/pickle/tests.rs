use safetensors::tensor::Dtype;

use super::*;

/// `{"a.weight": <f16 of [2, 3] in record 7, from number 5 on>}`, as `torch.save` writes it.
fn saved(wrapped: bool) -> Vec<u8> {
    let tensor: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage\
        ctorch\nHalfStorage\nX\x01\0\0\x007X\x03\0\0\0cpuK\x0btQK\x05K\x02K\x03\x86K\x03K\x01\x86\x89\
        ccollections\nOrderedDict\n)RtR";
    let dict = [b"}q\0(X\x08\0\0\0a.weight", tensor, b"u"].concat();
    match wrapped {
        true => [
            b"\x80\x02}(X\x04\0\0\0stepK\x03X\x05\0\0\0model",
            dict.as_slice(),
            b"u.",
        ]
        .concat(),
        false => [b"\x80\x02", dict.as_slice(), b"."].concat(),
    }
}

#[test]
fn tensors_are_read_wrapped_or_not() {
    for wrapped in [false, true] {
        let view = TensorView {
            storage: "7".into(),
            dtype: Dtype::F16,
            shape: vec![2, 3],
            strides: vec![3, 1],
            offset: 5,
        };
        let expected = vec![("a.weight".to_owned(), view)];
        assert_eq!(tensors(&saved(wrapped)), Ok(expected));
    }
}

#[test]
fn what_would_be_executed_is_refused_by_name() {
    for (pickle, expected) in [
        (
            &b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."[..],
            "`os.system`",
        ),
        (
            b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
            "`builtins.eval`",
        ),
        (b"cposix\nsystem\n.", "`posix.system`"),
        (b"ctorch\nload\n.", "`torch.load`"),
        (b"(iposix\nsystem\n.", "operation 0x69 is not allowed"),
        (
            b"ccollections\nOrderedDict\n)\x81.",
            "operation 0x81 is not allowed",
        ),
        (b"ccollections\nOrderedDict\n(K\x01tR.", "other arguments"),
        (b"K\x01)R.", "calls what is no function"),
        (b"K\x01K\x02b.", "state of what is no dictionary"),
    ] {
        let message = tensors(pickle).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn every_truncation_and_every_changed_byte_is_survived() {
    let pickle = saved(true);
    for end in 0..pickle.len() {
        assert!(tensors(&pickle[..end]).is_err(), "{end}");
    }
    for at in 0..pickle.len() {
        for byte in 0..=255 {
            let mut damaged = pickle.clone();
            damaged[at] = byte;
            let _ = tensors(&damaged);
        }
    }
}

#[test]
fn loops_and_repetitions_stay_small() {
    // A list in itself, and a long name used often.
    assert!(tensors(b"]q\0h\0a.").unwrap_err().contains("no dictionary"));
    let mut bomb = b"}X\0\0\x10\0".to_vec();
    bomb.resize(bomb.len() + (1 << 20), b'a');
    bomb.extend(b"q\0(");
    bomb.extend(b"h\0h\0".repeat(100_000));
    bomb.extend(b"u.");
    assert!(tensors(&bomb).is_err());
    assert!(tensors(&b"(".repeat(1 << 20)).is_err());
    assert!(tensors(&b"K\x01\x85".repeat(1 << 19)).is_err());
}

#[test]
fn wrong_descriptions_are_refused() {
    for (find, replace, expected) in [
        (
            &b"K\x02K\x03\x86"[..],
            &b"K\x02NN0\x86"[..],
            "described wrongly",
        ),
        (b"K\x03K\x01\x86", b"K\x03NN0\x85", "described wrongly"),
        (b"HalfStorage", b"HalfStoragX", "`torch.HalfStoragX`"),
        (
            b"X\x08\0\0\0a.weight",
            b"K\x01K\x01NN00000000",
            "stack is empty",
        ),
    ] {
        let pickle = saved(false);
        let at = pickle.windows(find.len()).position(|w| w == find).unwrap();
        let damaged = [&pickle[..at], replace, &pickle[at + find.len()..]].concat();
        let message = tensors(&damaged).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}
