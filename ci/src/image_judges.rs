//! What others say of an image we built: each format we write is read by a
//! tool that has nothing of ours in it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use formats::gpt::Gpt;
use serde_json::Value;

use crate::images::{Image, Workshop};
use crate::process::output;
use crate::proof::DiskFile;

/// Has every tool look at `image`.
pub fn judge(workshop: &Workshop, image: &Image) -> Result<()> {
    let folder = tempfile::tempdir_in(workshop.out())?;
    let parts = Parts::of(image, folder.path())?;
    disk(image, &parts)?;
    root(&parts)?;
    bundle(workshop, image, &parts)?;
    Ok(())
}

/// Copies of the disk's partitions as files.
struct Parts {
    folder: PathBuf,
}

impl Parts {
    fn of(image: &Image, folder: &Path) -> Result<Self> {
        let disk = File::open(&image.disk)?;
        let gpt = Gpt::read(&mut DiskFile(&disk)).map_err(|error| anyhow::anyhow!("{error}"))?;
        for partition in &gpt.partitions {
            let mut file = File::create(folder.join(&partition.name))?;
            let mut buffer = vec![0; 1 << 20];
            for at in (0..partition.len_bytes).step_by(buffer.len()) {
                disk.read_exact_at(&mut buffer, partition.start_bytes + at)?;
                file.write_all(&buffer)?;
            }
        }
        Ok(Self { folder: folder.into() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn disk(image: &Image, parts: &Parts) -> Result<()> {
    let said = output(Command::new("sgdisk").arg("-v").arg(&image.disk))?;
    ensure!(said.contains("No problems found"), "sgdisk: {said}");
    output(Command::new("fsck.vfat").arg("-n").arg(parts.path("esp")))?;
    output(Command::new("e2fsck").arg("-fn").arg(parts.path("data")))?;
    Ok(())
}

fn root(parts: &Parts) -> Result<()> {
    output(Command::new("fsck.erofs").arg(parts.path("root-a")))?;
    let hash = root_hash(parts)?;
    let (root, verity) = (parts.path("root-a"), parts.path("root-a-verity"));
    output(Command::new("veritysetup").arg("verify").arg(&root).arg(&verity).arg(&hash))?;
    // and it does notice: one flipped bit is refused
    let file = File::options().read(true).write(true).open(&root)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 8192)?;
    file.write_all_at(&[byte[0] ^ 1], 8192)?;
    let refused =
        Command::new("veritysetup").arg("verify").arg(&root).arg(&verity).arg(&hash).output()?;
    file.write_all_at(&byte, 8192)?;
    ensure!(!refused.status.success(), "veritysetup accepts a changed root");
    Ok(())
}

/// The root hash that the UKI's signed command line has.
fn root_hash(parts: &Parts) -> Result<String> {
    let mut uki = Vec::new();
    File::open(parts.path("uki-a"))?.read_to_end(&mut uki)?;
    let image = parts.path("uki.efi");
    fs::write(&image, &uki[4096..])?;
    let cmdline = parts.path("cmdline");
    let section = format!("--dump-section=.cmdline={}", cmdline.display());
    output(Command::new("objcopy").arg(section).arg(&image).arg(parts.path("copy.efi")))?;
    let cmdline = fs::read_to_string(cmdline)?;
    let hash = cmdline.split_whitespace().find_map(|word| word.strip_prefix("roothash="));
    Ok(hash.context("the UKI has no roothash=")?.trim_end_matches('\0').to_owned())
}

fn bundle(workshop: &Workshop, image: &Image, parts: &Parts) -> Result<()> {
    let opened = parts.path("bundle");
    fs::create_dir(&opened)?;
    output(Command::new("tar").arg("-xf").arg(&image.bundle).arg("-C").arg(&opened))?;
    signature(workshop, &opened)?;
    let jq = |filter: &str| -> Result<String> {
        let said =
            output(Command::new("jq").args(["-er", filter]).arg(opened.join("manifest.json")))?;
        Ok(said.trim().to_owned())
    };
    ensure!(jq(".root_hash")? == root_hash(parts)?, "manifest and UKI name two root hashes");
    // frames without the chunks of zeros: a payload that has none is whole
    for (payload, partition) in [("uki", "uki.efi"), ("verity", "root-a-verity")] {
        let raw = parts.path("raw");
        output(
            Command::new("zstd")
                .args(["-dqf"])
                .arg(opened.join("data").join(payload))
                .arg("-o")
                .arg(&raw),
        )?;
        let digest = output(Command::new("sha256sum").arg(&raw))?;
        let expected = jq(&format!(".payloads.{payload}.sha256"))?;
        ensure!(
            digest.starts_with(&expected),
            "{payload} ({partition}) does not unpack to what was signed"
        );
    }
    let verified = workshop.installer(&["verify", &image.bundle.to_string_lossy()], None)?;
    ensure!(verified["verified"] == true, "the installer does not verify it: {verified}");
    Ok(())
}

/// openssl verifies the manifest's signature over DSSE's encoding of it, made
/// here from the protocol's text and not by our own code.
fn signature(workshop: &Workshop, opened: &Path) -> Result<()> {
    let manifest = fs::read(opened.join("manifest.json"))?;
    let kind = "application/vnd.slipway.manifest+json";
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), manifest.len()).into_bytes();
    message.extend_from_slice(&manifest);
    let signatures: Value = serde_json::from_slice(&fs::read(opened.join("signatures.json"))?)?;
    let sig = signatures["signatures"][0]["sig"].as_str().context("no signature")?;
    let file = |name: &str| opened.join(name);
    fs::write(file("message"), &message)?;
    fs::write(file("sig.b64"), sig)?;
    output(
        Command::new("openssl")
            .args(["base64", "-d", "-A", "-in"])
            .arg(file("sig.b64"))
            .arg("-out")
            .arg(file("sig")),
    )?;
    let key = workshop.keys()?.join("targets.pub.pem");
    let verify = |message: &Path| {
        Command::new("openssl")
            .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"])
            .arg(&key)
            .arg("-in")
            .arg(message)
            .arg("-sigfile")
            .arg(file("sig"))
            .output()
    };
    ensure!(verify(&file("message"))?.status.success(), "openssl refuses the manifest's signature");
    message.push(b' ');
    fs::write(file("changed"), &message)?;
    ensure!(!verify(&file("changed"))?.status.success(), "openssl accepts a changed manifest");
    Ok(())
}
