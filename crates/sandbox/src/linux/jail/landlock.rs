//! Files and network: what a jailed process may open.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};

use crate::SandboxError;
use crate::error::refused;

/// Rights in the scratch folder, as the kernel numbers them (`linux/landlock.h`): read and write files, list and
/// remove and make them and folders, rename and truncate. No `exec`, no devices, sockets, pipes or links.
pub const SCRATCH: u64 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8;
/// Moving between folders (ABI 2) and truncating (ABI 3): rights that an older kernel does not know.
pub const SCRATCH_NEWER: u64 = 1 << 13 | 1 << 14;

/// A ruleset that allows reads below `readable` and nothing else on disk or network, not yet in force.
///
/// ABI 1 (Linux 5.13) is required; what newer kernels add is used where it exists.
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
