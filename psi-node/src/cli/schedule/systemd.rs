//! Units of systemd: the service, hardened; on request a timer a job, for nodes whose service is not to run what is due.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf, absolute},
};

use psi_node::{
    config::{Config, Job},
    durable,
    fault::{Code, Fault},
    home::Home,
    schedule::Schedule,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The account that they run under
    #[arg(long, value_name = "NAME", default_value = "psi")]
    user: String,
    /// A timer for each job with a schedule, and a service that leaves those jobs to them
    #[arg(long)]
    timers: bool,
}

/// What a node needs no right to.
const HARDENING: &str = "\
UMask=0077
LimitCORE=0
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

const NETWORK: &str = "Wants=network-online.target\nAfter=network-online.target\n";

impl Args {
    pub(super) fn units(&self, home: &Home, config: &Config) -> Result<String, Fault> {
        let mut units = self.service(home, config)?;
        for (name, job) in config.jobs.iter().filter(|_| self.timers) {
            if let Some(schedule) = &job.schedule {
                units += &self.timer(home, config, name, job, schedule)?;
            }
        }
        Ok(units)
    }

    fn service(&self, home: &Home, config: &Config) -> Result<String, Fault> {
        let without = if self.timers { " --no-schedule" } else { "" };
        Ok(format!(
            "# /etc/systemd/system/psi.service\n[Unit]\nDescription=psi node {}\n{NETWORK}\n[Service]\nType=notify\n\
             ExecStart={} --log-format json serve{without}\nExecReload=/bin/kill -HUP $MAINPID\nRestart=on-failure\nRestartSec=10\n\
             RestartPreventExitStatus=2 4\nTimeoutStopSec=30\nWatchdogSec=60\n{}\n[Install]\nWantedBy=multi-user.target\n",
            escaped(&config.node.name),
            program()?,
            self.rights(home, config)?,
        ))
    }

    fn timer(
        &self,
        home: &Home,
        config: &Config,
        name: &str,
        job: &Job,
        schedule: &Schedule,
    ) -> Result<String, Fault> {
        let unit = escaped(name);
        let moments: String =
            on_calendar(schedule)?.iter().map(|at| format!("OnCalendar={at} {}\n", job.zone())).collect();
        Ok(format!(
            "\n# /etc/systemd/system/psi-{unit}.service\n[Unit]\nDescription=psi run {unit}\n{NETWORK}\n[Service]\nType=oneshot\n\
             ExecStart={} --log-format json run {} --json\nSuccessExitStatus=3\n{}\n\
             # /etc/systemd/system/psi-{unit}.timer\n[Unit]\nDescription=psi run {unit}\n\n[Timer]\n{moments}AccuracySec=1s\n\
             RandomizedDelaySec={}min\nPersistent=yes\n\n[Install]\nWantedBy=timers.target\n",
            program()?,
            quoted(name),
            self.rights(home, config)?,
            job.jitter_minutes,
        ))
    }

    fn rights(&self, home: &Home, config: &Config) -> Result<String, Fault> {
        let state = absolute(home.state()).map_err(|error| unexpected(&error))?;
        let written =
            config.jobs.values().flat_map(|job| [Some(&job.output), job.rejects.as_ref()]).flatten();
        let writable: BTreeSet<_> = written.map(|path| fixed(path)).chain([state.clone()]).collect();
        let inputs = config.jobs.values().map(|job| &job.input.path);
        let at_home = |path: &Path| path.starts_with("/home") || path.starts_with("/root");
        let homes =
            inputs.map(|path| path.as_path()).chain(writable.iter().map(|path| path.as_path())).any(at_home);
        let writable: Vec<String> = writable.iter().map(|path| quoted(&path.to_string_lossy())).collect();
        let own = home.config().starts_with(home.state());
        Ok(format!(
            "User={}\n{}ReadWritePaths={}\nProtectHome={}\n{HARDENING}",
            escaped(&self.user),
            if own {
                format!("Environment={}\n", quoted(&format!("PSI_HOME={}", state.display())))
            } else {
                String::new()
            },
            writable.join(" "),
            if homes { "read-only" } else { "yes" },
        ))
    }
}

/// The folder of a file, or the one above in whose name nothing changes from run to run.
fn fixed(path: &Path) -> PathBuf {
    let folders = durable::parent(path).ancestors();
    let mut fixed = folders.skip_while(|folder| folder.to_string_lossy().contains('{'));
    fixed.next().unwrap_or(Path::new("/")).to_owned()
}

fn program() -> Result<String, Fault> {
    let path = env::current_exe().map_err(|error| unexpected(&error))?;
    Ok(quoted(&path.to_string_lossy()))
}

fn unexpected(error: &std::io::Error) -> Fault {
    Fault::new(Code::Unexpected, error.to_string())
}

/// Percent signs mean something to systemd everywhere.
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=@:+".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", escaped(word).replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$"))
}

/// A schedule in systemd's words. A day of the month or of the week is two moments there, a day that is both one.
fn on_calendar(schedule: &Schedule) -> Result<Vec<String>, Fault> {
    let text = schedule.to_string();
    let fields: Vec<&str> = text.split_whitespace().collect();
    let foreign = || {
        let message = format!(
            "systemd has no words for the schedule {text:?}: let `psi serve` run it, without --timers"
        );
        Fault::new(Code::Usage, message)
    };
    let [minute, hour, day, month, weekday] = fields[..] else { return Err(foreign()) };
    let translated = [
        list(minute, 0, &|item| number(item, &[])),
        list(hour, 0, &|item| number(item, &[])),
        list(day, 1, &|item| number(item, &[])),
        list(month, 1, &|item| number(item, &MONTHS)),
        week(weekday),
    ];
    let [Some(minute), Some(hour), Some(day), Some(month), Some(weekday)] = translated else {
        return Err(foreign());
    };
    let at =
        |weekday: &str, day: &str| format!("{weekday}*-{month}-{day} {hour}:{minute}:00").trim().to_owned();
    Ok(match (day.as_str(), weekday.as_str()) {
        (day, "*") => vec![at("", day)],
        ("*", weekday) => vec![at(&format!("{weekday} "), "*")],
        (day, weekday) => vec![at("", day), at(&format!("{weekday} "), "*")],
    })
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEK: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

fn list(field: &str, first: u32, item: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let part = |part: &str| -> Option<String> {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step = match step {
            Some(step) => format!("/{}", step.parse::<u32>().ok()?),
            None => String::new(),
        };
        match (range, range.split_once('-')) {
            ("*", _) if step.is_empty() => Some("*".to_owned()),
            ("*", _) => Some(format!("{first}{step}")),
            (_, Some((from, to))) => Some(format!("{}..{}{step}", item(from)?, item(to)?)),
            (one, None) => step.is_empty().then(|| item(one))?,
        }
    };
    Some(field.split(',').map(part).collect::<Option<Vec<_>>>()?.join(","))
}

fn number(item: &str, names: &[&str]) -> Option<String> {
    let named = names.iter().position(|name| *name == item.to_lowercase()).map(|index| index as u32 + 1);
    named.or_else(|| item.parse().ok()).map(|number| number.to_string())
}

/// Days of the week, which systemd counts by name and from Monday, and without steps.
fn week(field: &str) -> Option<String> {
    if field == "*" {
        return Some(field.to_owned());
    }
    let mut chosen = BTreeSet::new();
    for part in field.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        chosen.extend((of_week(from)?..=of_week(to)?).map(|day| (day + 6) % 7));
    }
    let names: Vec<&str> = chosen.into_iter().map(|day| WEEK[day + 1]).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// From 0 for Sunday; 7 is Sunday too.
fn of_week(item: &str) -> Option<usize> {
    let known = WEEK.iter().position(|day| day.eq_ignore_ascii_case(item));
    known.or_else(|| item.parse().ok().filter(|day| *day < WEEK.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(schedule: &str) -> Vec<String> {
        on_calendar(&schedule.parse().unwrap()).unwrap()
    }

    #[test]
    fn schedules_are_said_in_systemds_words() {
        let cases = [
            ("30 2 * * *", "*-*-* 2:30:00"),
            ("*/15 8-18 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 8..18:0/15:00"),
            ("0 6 1,15 JAN-jun *", "*-1..6-1,15 6:0:00"),
            ("0 6 */2 * *", "*-*-1/2 6:0:00"),
            ("0 6 * * sun,7", "Sun *-*-* 6:0:00"),
            ("0 6 * * 0-2", "Mon,Tue,Sun *-*-* 6:0:00"),
            ("0 6 * * 5-7,wed", "Wed,Fri,Sat,Sun *-*-* 6:0:00"),
            ("0 6 * * 0-6", "Mon,Tue,Wed,Thu,Fri,Sat,Sun *-*-* 6:0:00"),
        ];
        for (schedule, words) in cases {
            assert_eq!(calendar(schedule), [words], "{schedule}");
        }
        assert_eq!(calendar("0 6 13 * 5"), ["*-*-13 6:0:00", "Fri *-*-* 6:0:00"]);
    }

    #[test]
    fn what_systemd_can_not_say_is_refused() {
        for schedule in ["0 6 L * *", "0 6 * * 5#2", "0 6 * * */2"] {
            assert!(on_calendar(&schedule.parse().unwrap()).is_err(), "{schedule}");
        }
    }

    #[test]
    fn folders_that_change_are_left_to_the_one_above() {
        for (path, folder) in [
            ("/out/a-{date}.csv", "/out"),
            ("/out/{date}/{job}/a.csv", "/out"),
            ("/out/{job}-x/y/a.csv", "/out"),
        ] {
            assert_eq!(fixed(Path::new(path)), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn words_are_quoted_for_systemd() {
        assert_eq!(quoted("/var/lib/psi"), "/var/lib/psi");
        assert_eq!(quoted("/data/a b%"), "\"/data/a b%%\"");
    }
}
