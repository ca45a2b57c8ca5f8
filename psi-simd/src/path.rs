//! Which instructions to use, found once at run time.

use std::sync::OnceLock;

use crate::lane::Lane;
#[cfg(test)]
use crate::lane::emulated::{Emulated, Fused, Integer};
#[cfg(target_arch = "x86_64")]
use crate::lane::{avx2, ifma};

/// The instructions that a call uses. Only those that the CPU has can be had: from [`Path::best`] or [`Path::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Path {
    /// AVX-512 with IFMA: eight elements at a time.
    #[non_exhaustive]
    Ifma,
    /// AVX2 with FMA: four elements at a time.
    #[non_exhaustive]
    Avx2,
    /// Any CPU: one element at a time, by curve25519-dalek.
    Portable,
    /// The formulas of `Ifma` in plain Rust.
    #[cfg(test)]
    EmulatedIfma,
    /// The formulas of `Avx2` in plain Rust.
    #[cfg(test)]
    EmulatedAvx2,
}

/// One call, for any lane or for dalek.
pub(crate) trait Job {
    type Output;
    fn on_lanes<L: Lane>(self) -> Self::Output;
    fn portable(self) -> Self::Output;
}

impl Path {
    /// The fastest path of this CPU.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Every path of this CPU, the fastest first. The last one is [`Path::Portable`].
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Path>> = OnceLock::new();
        AVAILABLE.get_or_init(detect)
    }

    /// The path of this name, if the CPU has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::available().iter().copied().find(|path| path.name() == name)
    }

    /// `ifma`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ifma => "ifma",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
            #[cfg(test)]
            Self::EmulatedIfma => "emulated ifma",
            #[cfg(test)]
            Self::EmulatedAvx2 => "emulated avx2",
        }
    }

    /// Runs a job with the path's instructions.
    pub(crate) fn dispatch<J: Job>(self, job: J) -> J::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Ifma => job.on_lanes::<ifma::Ifma>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => job.on_lanes::<avx2::Avx2>(),
            #[cfg(test)]
            Self::EmulatedIfma => job.on_lanes::<Emulated<Integer>>(),
            #[cfg(test)]
            Self::EmulatedAvx2 => job.on_lanes::<Emulated<Fused>>(),
            _ => job.portable(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Vec<Path> {
    let vector = [(Path::Ifma, ifma::available()), (Path::Avx2, avx2::available())];
    let found = vector.into_iter().filter_map(|(path, available)| available.then_some(path));
    found.chain([Path::Portable]).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Vec<Path> {
    vec![Path::Portable]
}
