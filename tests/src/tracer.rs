//! A process whose changes to its files fail where a test names it: the n-th one, in the way that the test chooses.
//!
//! The kernel stops the process at each system call (`ptrace`), and it is told another result. So what is tested is the program
//! as it ships, with whatever it writes by itself or through its libraries; it has no hook for it
//! ([decision 0024](../../docs/decisions/0024-writes-fail-from-outside.md)).
//!
//! ```text
//! Traced::start -> sh, which stops itself -> seize -> exec of the program -> every system call: does it change a file in the
//! folder? then it counts, and meets what is planned for its number
//! ```
//!
//! For Linux on x86-64; a test elsewhere says that it was not run.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::{ChildStdout, Command},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    libc::{self, c_long, user_regs_struct},
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// In which way a change fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It is not done, and said to have failed.
    Failed,
    /// It is done, and said to have failed.
    Done,
    /// From this one on the disk is full: nothing is written, created or made durable any more; renaming and removing works.
    Full,
    /// The process is killed before it.
    Killed,
}

/// Which change fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its number, from 0.
    pub number: u64,
    /// The way.
    pub form: Form,
    /// What the program is told; [`Errno::ENOSPC`] if the disk is full.
    pub errno: Errno,
}

/// What became of a traced process.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, or the signal that ended it.
    pub status: Result<i32, Signal>,
    /// How many changes it made or tried.
    pub changes: u64,
    /// The change that met what was planned.
    pub struck: Option<String>,
}

/// A process under the tracer's eyes.
pub struct Traced {
    /// Its process id.
    pub pid: Pid,
    /// Its output, if it was piped.
    pub stdout: Option<ChildStdout>,
    following: JoinHandle<io::Result<Ended>>,
}

/// A command that [`Traced::start`] can start; arguments and the rest are to be added.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    // It waits to be seized, so that nothing goes unseen.
    command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(program);
    command
}

impl Traced {
    /// Starts a command made by [`command`]; changes to what is in the folder count.
    pub fn start(mut command: Command, folder: &Path, planned: Option<Planned>) -> io::Result<Self> {
        let (started, starting) = mpsc::channel();
        let folder = folder.to_owned();
        // Whoever seizes a process is one thread, and only that thread can go on with it.
        let following = thread::spawn(move || {
            let mut child = command.spawn()?;
            let pid = Pid::from_raw(child.id() as i32);
            let _ = started.send((pid, child.stdout.take()));
            Tracer { folder, planned, changes: 0, struck: None, results: HashMap::new() }.follow(pid)
        });
        match starting.recv() {
            Ok((pid, stdout)) => Ok(Self { pid, stdout, following }),
            Err(_) => Err(following.join().unwrap().err().unwrap_or_else(|| io::ErrorKind::Other.into())),
        }
    }

    /// Ends it with SIGKILL, if it has not ended.
    pub fn kill(&self) {
        // What is not waited for yet keeps its number.
        if !self.following.is_finished() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }

    /// Waits until it has ended.
    pub fn wait(self) -> io::Result<Ended> {
        self.following.join().unwrap()
    }
}

struct Tracer {
    folder: PathBuf,
    planned: Option<Planned>,
    changes: u64,
    struck: Option<String>,
    /// By thread: what its call is to return.
    results: HashMap<Pid, i64>,
}

impl Tracer {
    fn follow(mut self, process: Pid) -> io::Result<Ended> {
        waitpid(process, Some(WaitPidFlag::WUNTRACED))?;
        let options =
            Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        ptrace::seize(process, options)?;
        kill(process, Signal::SIGCONT)?;
        let ours = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let (thread, signal) = match waitpid(Pid::from_raw(-1), Some(ours))? {
                WaitStatus::PtraceSyscall(thread) => {
                    ignore_gone(self.call(process, thread))?;
                    (thread, None)
                }
                WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
                WaitStatus::PtraceEvent(thread, ..) => (thread, None),
                WaitStatus::Exited(thread, status) if thread == process => return Ok(self.ended(Ok(status))),
                WaitStatus::Signaled(thread, signal, _) if thread == process => {
                    return Ok(self.ended(Err(signal)));
                }
                _ => continue,
            };
            ignore_gone(ptrace::syscall(thread, signal))?;
        }
    }

    fn ended(self, status: Result<i32, Signal>) -> Ended {
        Ended { status, changes: self.changes, struck: self.struck }
    }

    /// A thread stands before a system call, or after one.
    fn call(&mut self, process: Pid, thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        if ptrace::syscall_info(thread)?.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            let Some(result) = self.results.remove(&thread) else { return Ok(()) };
            registers.rax = result as u64;
            return ptrace::setregs(thread, registers);
        }
        if is_hardening(&registers) {
            // Its open files could not be looked at any more.
            return self.instead(thread, registers, 0);
        }
        let call = Call { thread, registers };
        let Some(change) = call.change().filter(|change| change.path.starts_with(&self.folder)) else {
            return Ok(());
        };
        let number = self.changes;
        self.changes += 1;
        let Some(planned) = self.planned else { return Ok(()) };
        let strikes = match planned.form {
            Form::Full => number >= planned.number && change.needs_space,
            _ => number == planned.number,
        };
        if !strikes {
            return Ok(());
        }
        self.struck.get_or_insert_with(|| format!("{} {}", change.name, change.path.display()));
        let result = -i64::from(planned.errno as i32);
        match planned.form {
            Form::Failed | Form::Full => self.instead(thread, registers, result),
            Form::Done => {
                self.results.insert(thread, result);
                Ok(())
            }
            Form::Killed => kill(process, Signal::SIGKILL),
        }
    }

    /// The call is not made, and returns this.
    fn instead(&mut self, thread: Pid, mut registers: user_regs_struct, result: i64) -> nix::Result<()> {
        registers.orig_rax = u64::MAX;
        self.results.insert(thread, result);
        ptrace::setregs(thread, registers)
    }
}

/// A thread that was killed meanwhile is no failure.
fn ignore_gone(result: nix::Result<()>) -> nix::Result<()> {
    result.or_else(|errno| if errno == Errno::ESRCH { Ok(()) } else { Err(errno) })
}

fn is_hardening(registers: &user_regs_struct) -> bool {
    (registers.orig_rax, registers.rdi) == (libc::SYS_prctl as u64, libc::PR_SET_DUMPABLE as u64)
}

/// A system call that is about to be made.
struct Call {
    thread: Pid,
    registers: user_regs_struct,
}

/// What a call changes.
struct Change {
    name: &'static str,
    path: PathBuf,
    /// Whether a full disk refuses it.
    needs_space: bool,
}

impl Call {
    /// The change that it makes, if it makes one.
    fn change(&self) -> Option<Change> {
        let user_regs_struct { rdi, rsi, rdx, r10, .. } = self.registers;
        let here = libc::AT_FDCWD as u64;
        let (name, path, needs_space) = match self.registers.orig_rax as c_long {
            libc::SYS_write | libc::SYS_pwrite64 => ("write", self.file(rdi), true),
            libc::SYS_writev | libc::SYS_pwritev | libc::SYS_pwritev2 => ("write", self.file(rdi), true),
            libc::SYS_copy_file_range => ("copy", self.file(rdx), true),
            libc::SYS_sendfile => ("copy", self.file(rdi), true),
            libc::SYS_fallocate => ("allocate", self.file(rdi), true),
            libc::SYS_ftruncate => ("set the length of", self.file(rdi), false),
            libc::SYS_fsync | libc::SYS_fdatasync => ("sync", self.file(rdi), true),
            libc::SYS_open if creates(rsi) => ("create", self.path(here, rdi), true),
            libc::SYS_openat if creates(rdx) => ("create", self.path(rdi, rsi), true),
            libc::SYS_mkdir => ("make the folder", self.path(here, rdi), true),
            libc::SYS_mkdirat => ("make the folder", self.path(rdi, rsi), true),
            libc::SYS_rename => ("rename to", self.path(here, rsi), false),
            libc::SYS_renameat | libc::SYS_renameat2 => ("rename to", self.path(rdx, r10), false),
            libc::SYS_link => ("link", self.path(here, rsi), true),
            libc::SYS_linkat => ("link", self.path(rdx, r10), true),
            libc::SYS_unlink | libc::SYS_rmdir => ("remove", self.path(here, rdi), false),
            libc::SYS_unlinkat => ("remove", self.path(rdi, rsi), false),
            _ => return None,
        };
        Some(Change { name, path: path?, needs_space })
    }

    fn file(&self, descriptor: u64) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/fd/{}", self.thread, descriptor as i32)).ok()
    }

    fn path(&self, folder: u64, address: u64) -> Option<PathBuf> {
        let path = self.text(address)?;
        let folder = match (path.is_absolute(), folder as i32) {
            (true, _) => PathBuf::new(),
            (_, libc::AT_FDCWD) => fs::read_link(format!("/proc/{}/cwd", self.thread)).ok()?,
            _ => self.file(folder)?,
        };
        Some(folder.join(path))
    }

    /// What stands at that address of the process, up to its end mark.
    fn text(&self, address: u64) -> Option<PathBuf> {
        let mut text = Vec::new();
        loop {
            let place = (address + text.len() as u64) as ptrace::AddressType;
            let word = ptrace::read(self.thread, place).ok()?.to_ne_bytes();
            match word.iter().position(|byte| *byte == 0) {
                None => text.extend(word),
                Some(end) => {
                    text.extend(&word[..end]);
                    return String::from_utf8(text).ok().map(PathBuf::from);
                }
            }
        }
    }
}

fn creates(flags: u64) -> bool {
    flags as i32 & (libc::O_CREAT | libc::O_TRUNC) != 0
}
