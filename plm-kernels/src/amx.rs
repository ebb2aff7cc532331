//! The matrix unit of some x86 processors (AMX): products of tiles of 16 rows by 64 bytes, which
//! stand in registers of their own.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Rows of a tile, and sums in one of its rows.
pub(crate) const SIDE: usize = 16;

/// Inputs that two tiles of bf16 are multiplied over.
pub(crate) const DEPTH: usize = 32;

/// Bytes of a tile's row.
const ROW: usize = 64;

/// Whether this processor multiplies tiles of bf16, and the system lets this process do so.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    const LEAF: u32 = 7;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    if __cpuid(0).eax < LEAF {
        return false;
    }
    let features = __cpuid_count(LEAF, 0).edx;
    features & AMX_BF16 != 0 && features & AMX_TILE != 0
}

/// Asks for the tiles' place in the state that the system saves of each thread.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call changes what this process may do, and no memory.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// What the instruction for the shapes of tiles reads.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles whole.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Runs work that calls [`multiply`] on this thread.
///
/// # Safety
///
/// The unit must be [available](is_available).
#[inline(always)]
pub(crate) unsafe fn with_tiles<R>(work: impl FnOnce() -> R) -> R {
    asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, preserves_flags));
    let result = work();
    // Threads are switched faster without tiles.
    asm!("tilerelease", options(nostack, preserves_flags));
    result
}

/// Two pairs of tiles that are multiplied with each other, as bytes from the beginnings of `a` and
/// `b`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Step {
    pub(crate) a: u32,
    pub(crate) b: u32,
}

/// `c (+)= Σ a · b` of `32` rows and `V` tiles of columns, one after the other in a row of `c`.
///
/// - `a`: two tiles of rows of bf16, one after the other
/// - `b`: rows of pairs of bf16, one for each column, `V` tiles wide
/// - `c`: `V` tiles of columns of rows of f32, `ldc` numbers apart
///
/// # Safety
///
/// Within [`with_tiles`]; everything that the steps name must be there, and `c` whole. There must be
/// a step.
#[inline(always)]
pub(crate) unsafe fn multiply<const V: usize>(
    steps: &[Step],
    a: *const u16,
    b: *const u16,
    c: *mut f32,
    ldc: usize,
    add: bool,
) {
    let steps = steps.as_ptr_range();
    // One block of instructions: nothing else keeps numbers in tiles.
    macro_rules! block {
        ($zero:literal, $load:literal, $factors:literal, $products:literal, $store:literal) => {
            asm!(
                "lea {q}, [{c} + 8*{ldc}]",
                "lea {q}, [{q} + 8*{ldc}]",
                "test {add:e}, {add:e}",
                "jnz 2f",
                $zero,
                "jmp 3f",
                "2:",
                $load,
                "3:",
                "mov {p:e}, dword ptr [{step}]",
                "add {p}, {a}",
                "tileloadd tmm4, [{p} + 1*{lda}]",
                "add {p}, {second}",
                "tileloadd tmm5, [{p} + 1*{lda}]",
                "mov {p:e}, dword ptr [{step} + 4]",
                "add {p}, {b}",
                $factors,
                $products,
                "add {step}, 8",
                "cmp {step}, {end}",
                "jne 3b",
                $store,
                p = out(reg) _,
                q = out(reg) _,
                step = inout(reg) steps.start => _,
                end = in(reg) steps.end,
                a = in(reg) a,
                b = in(reg) b,
                c = in(reg) c,
                add = in(reg) u32::from(add),
                lda = in(reg) ROW,
                ld = in(reg) V * ROW,
                ldc = in(reg) ldc * size_of::<f32>(),
                second = const SIDE * ROW,
                options(nostack),
            )
        };
    }
    if V == 2 {
        block!(
            "tilezero tmm0
             tilezero tmm1
             tilezero tmm2
             tilezero tmm3",
            "tileloadd tmm0, [{c} + 1*{ldc}]
             tileloadd tmm1, [{c} + 1*{ldc} + 64]
             tileloadd tmm2, [{q} + 1*{ldc}]
             tileloadd tmm3, [{q} + 1*{ldc} + 64]",
            "tileloadd tmm6, [{p} + 1*{ld}]
             tileloadd tmm7, [{p} + 1*{ld} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6
             tdpbf16ps tmm1, tmm4, tmm7
             tdpbf16ps tmm2, tmm5, tmm6
             tdpbf16ps tmm3, tmm5, tmm7",
            "tilestored [{c} + 1*{ldc}], tmm0
             tilestored [{c} + 1*{ldc} + 64], tmm1
             tilestored [{q} + 1*{ldc}], tmm2
             tilestored [{q} + 1*{ldc} + 64], tmm3"
        );
    } else {
        block!(
            "tilezero tmm0
             tilezero tmm2",
            "tileloadd tmm0, [{c} + 1*{ldc}]
             tileloadd tmm2, [{q} + 1*{ldc}]",
            "tileloadd tmm6, [{p} + 1*{ld}]",
            "tdpbf16ps tmm0, tmm4, tmm6
             tdpbf16ps tmm2, tmm5, tmm6",
            "tilestored [{c} + 1*{ldc}], tmm0
             tilestored [{q} + 1*{ldc}], tmm2"
        );
    }
}
