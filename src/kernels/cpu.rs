//! What this processor can do, asked once.

use std::sync::LazyLock;

/// The widest vectors there are kernels for and this processor has, with fused multiply-add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Vectors {
    /// None that there are kernels for: candle's operations serve, or loops as the compiler makes them.
    Portable,
    /// Eight f32: AVX2 and FMA.
    Avx2,
    /// Sixteen f32: AVX-512 F and what every processor with it has.
    Avx512,
}

impl Vectors {
    /// This processor's.
    pub(crate) fn detected() -> Self {
        static DETECTED: LazyLock<Vectors> = LazyLock::new(detect);
        *DETECTED
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Vectors {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("fma")
    {
        Vectors::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Vectors::Avx2
    } else {
        Vectors::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Vectors {
    Vectors::Portable
}

/// Whether this processor multiplies tiles of bf16 (AMX), and the system lets this process use them.
///
/// Linux gives a process its tiles when it asks: one thread asks once, and all threads of the process have them,
/// those that run already too (Linux, "Using XSTATE features in user space applications"). It refuses while
/// any thread has a signal stack too small for tiles. Other systems are not asked, and have none.
pub(crate) fn tiles() -> bool {
    static GRANTED: LazyLock<bool> =
        LazyLock::new(|| Vectors::detected() == Vectors::Avx512 && tiles_granted());
    *GRANTED
}

/// Intel's manual, volume 2, CPUID, leaf 7, EDX: tiles of bf16, and tiles at all.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const AMX: u32 = 1 << 22 | 1 << 24;

/// Intel's manual, volume 1, XCR0: the system saves tiles' shapes and contents with a thread.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const TILE_STATE: u64 = 1 << 17 | 1 << 18;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn tiles_granted() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    #[target_feature(enable = "xsave")]
    fn saved_state() -> u64 {
        // SAFETY: register 0 is there wherever the system has switched XGETBV on, which the caller has asked.
        #[allow(unsafe_code)]
        unsafe {
            _xgetbv(0)
        }
    }

    const SWITCHED_ON: u32 = 1 << 27;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & SWITCHED_ON == 0 || __cpuid_count(7, 0).edx & AMX != AMX {
        return false;
    }
    // SAFETY: XGETBV is there: the system has switched it on.
    #[allow(unsafe_code)]
    let saved = unsafe { saved_state() };
    saved & TILE_STATE == TILE_STATE && request_tile_data()
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn request_tile_data() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call reads and writes no memory of ours; it changes RAX, RCX, R11 and flags, as all calls do.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn tiles_granted() -> bool {
    false
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_there_where_the_system_lists_and_grants_them() {
        let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags: Vec<_> =
            listed.lines().find(|line| line.starts_with("flags")).unwrap().split(' ').collect();
        let listed = ["avx512f", "avx512bw", "amx_tile", "amx_bf16"].iter().all(|flag| flags.contains(flag));
        let granted = request_tile_data();
        assert_eq!(tiles(), listed && granted, "listed: {listed}, granted: {granted}");
    }
}
