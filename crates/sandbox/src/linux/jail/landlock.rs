//! Landlock: limits the files that a jailed process may open, and denies the network.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};

use crate::SandboxError;
use crate::error::refused;

/// Rights in the scratch folder (the only one that a jailed process may write to), by the bits of `linux/landlock.h`:
/// write files (1), read files (2), read folders (3), remove folders (4) and files (5), make folders (7) and files (8).
/// No `exec`; no devices, sockets, pipes or links.
pub const SCRATCH: u64 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8;
/// Further rights in the scratch folder, which older kernels do not know: moving between folders (13, ABI 2) and
/// truncating (14, ABI 3).
pub const SCRATCH_NEWER: u64 = 1 << 13 | 1 << 14;

/// Makes a ruleset that allows reading and executing below `readable`, reading and writing `/dev/null` and
/// `/dev/urandom`, and no other access to files or the network. The ruleset is not in force yet.
///
/// Requires ABI 1 (Linux 5.13); where the kernel is newer, the rights that later ABIs control are denied as well.
pub fn ruleset(readable: &[PathBuf]) -> Result<OwnedFd, SandboxError> {
    let abi = ABI::V6;
    let created = (|| -> Result<_, landlock::RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
            .add_rules(path_beneath_rules(["/dev/null", "/dev/urandom"], AccessFs::ReadFile | AccessFs::WriteFile))
    })();
    let created =
        created.map_err(|e| refused(format!("this kernel offers no Landlock ({e}); Linux 5.13 or newer is needed")))?;
    let fd: Option<OwnedFd> = created.into();
    fd.ok_or_else(|| {
        refused(
            "this kernel offers no Landlock; Linux 5.13 or newer is needed, with `landlock` among its security modules",
        )
    })
}
