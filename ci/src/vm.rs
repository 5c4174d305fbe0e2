//! A virtual machine on a disk image: real firmware (OVMF), software
//! emulation, and its serial console as lines with times.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A machine that can be powered on again and again.
pub struct Machine {
    /// its disk
    pub disk: PathBuf,
    /// QEMU's name of the disk's format
    format: &'static str,
    vars: PathBuf,
    logs: PathBuf,
    memory_mib: u32,
    boots: usize,
}

/// A machine that is on. Dropping it cuts the power.
pub struct Running {
    qemu: Child,
    lines: Receiver<String>,
    log: PathBuf,
    /// when the power came on
    pub started: Instant,
    /// every line so far, with the time it came
    pub console: Vec<(Duration, String)>,
}

impl Machine {
    /// A machine on `disk`, a raw image, with fresh firmware variables; its console logs go
    /// to the folder `logs`.
    pub fn new(disk: &Path, logs: &Path, memory_mib: u32) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let vars = logs.join("firmware-variables.fd");
        fs::copy(VARS, &vars).with_context(|| format!("cannot copy {VARS} (package ovmf)"))?;
        Ok(Self { disk: disk.into(), format: "raw", vars, logs: logs.into(), memory_mib, boots: 0 })
    }

    /// The same machine, whose disk is in another format.
    #[must_use]
    pub fn of_format(self, format: &'static str) -> Self {
        Self { format, ..self }
    }

    /// Powers the machine on.
    pub fn power_on(&mut self, why: &str) -> Result<Running> {
        self.boots += 1;
        let log = self.logs.join(format!("{:02}-{why}.log", self.boots));
        let mut file =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut qemu = self.command().spawn().context("cannot start qemu-system-x86_64")?;
        let console = qemu.stdout.take().context("qemu has no console")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut console = BufReader::new(console);
            let mut line = Vec::new();
            while console.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let _ = file.write_all(&line);
                let text = plain(&String::from_utf8_lossy(&line));
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(Running { qemu, lines, log, started: Instant::now(), console: Vec::new() })
    }

    fn command(&self) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        let memory = self.memory_mib.to_string();
        qemu.args(["-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max", "-smp", "2"])
            .args(["-m", &memory, "-nodefaults", "-display", "none", "-monitor", "none"])
            .args(["-serial", "stdio"])
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={CODE}"))
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=1,file={}", self.vars.display()))
            .arg("-drive")
            .arg(format!("if=none,id=disk,format={},file={}", self.format, self.disk.display()))
            .args(["-device", "virtio-blk-pci,drive=disk,bootindex=0"])
            .args(["-device", "virtio-rng-pci"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        qemu
    }
}

/// A console line without escape sequences and control characters.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            if rest.next() == Some('[') {
                while rest.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
        } else if !c.is_control() {
            out.push(c);
        }
    }
    out
}

impl Running {
    /// Waits for a console line that contains `wanted`, and returns it. Lines
    /// seen before count only once: each call goes on where the last one ended.
    pub fn wait_for(&mut self, wanted: &str, within: Duration) -> Result<String> {
        self.wait_for_any(&[wanted], within)
    }

    /// Waits for a line that contains one of `wanted`.
    pub fn wait_for_any(&mut self, wanted: &[&str], within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.console.push((self.started.elapsed(), line.clone()));
                    if wanted.iter().any(|text| line.contains(text)) {
                        return Ok(line);
                    }
                }
                Err(why) => bail!("{}", self.gave_up(wanted, why)),
            }
        }
    }

    fn gave_up(&self, wanted: &[&str], why: RecvTimeoutError) -> String {
        let what = match why {
            RecvTimeoutError::Timeout => "did not come in time",
            RecvTimeoutError::Disconnected => "did not come before the machine went off",
        };
        let tail = self.console.len().saturating_sub(25);
        let last: Vec<&str> = self.console[tail..].iter().map(|(_, line)| line.as_str()).collect();
        format!(
            "{:?} {what}; the console is in {}; its last lines:\n{}",
            wanted.join("\" or \""),
            self.log.display(),
            last.join("\n")
        )
    }

    /// When the first line that contains `text` came.
    #[must_use]
    pub fn time_of(&self, text: &str) -> Option<Duration> {
        self.console.iter().find(|(_, line)| line.contains(text)).map(|(time, _)| *time)
    }

    /// How many lines contain `text`.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.console.iter().filter(|(_, line)| line.contains(text)).count()
    }

    /// Cuts the power.
    pub fn cut_power(mut self) -> Vec<(Duration, String)> {
        self.stop();
        std::mem::take(&mut self.console)
    }

    fn stop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
