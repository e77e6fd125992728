//! A site that does not exist: users who start the same few programs again and again.
//!
//! 2,000 users, of whom some start much more than others, in 300 projects; each has four programs, and a program
//! imports the same 20 to 80 of 1,500 packages in one of 60 environments. So there are some 60,000 modules, and most
//! runs resemble earlier ones, as they do on a real machine. From a seed, so that all measure the same.

use spinney::track::record::{End, Import, Line, Process, Run};
use spinney::track::run::now;
use spinney::track::store::Batch;

const USERS: u64 = 2_000;
const PROJECTS: u64 = 300;
const PROGRAMS: u64 = 4;
const PACKAGES: u64 = 1_500;
const ENVIRONMENTS: u64 = 60;

const YEAR_SECONDS: u64 = 31_536_000;

/// Runs come out of it.
pub struct Site {
    state: u64,
    runs: u64,
    /// Runs begin within a year before this moment, in seconds since 1970.
    until: f64,
}

impl Site {
    pub fn new(seed: u64) -> Self {
        // Now, so that a report about the last days has some.
        Site { state: seed, runs: seed << 40, until: now() }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.state)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Small numbers much more often than large ones.
    fn often_small(&mut self, end: u64) -> u64 {
        let (a, b) = (self.below(end), self.below(end));
        a * b / end
    }

    /// A run that has ended.
    pub fn run(&mut self) -> Batch {
        self.runs += 1;
        let user = self.often_small(USERS);
        let program = user * PROGRAMS + self.often_small(PROGRAMS);
        let environment = mixed(program) % ENVIRONMENTS;
        let started = self.until - self.below(YEAR_SECONDS) as f64;
        let is_sampled = self.below(4) == 0;
        let run = Run {
            uuid: format!("{:032x}", u128::from(mixed(self.runs)) << 64 | u128::from(self.runs)),
            user: format!("user{user:04}"),
            project: Some(format!("project{:03}", mixed(user) % PROJECTS)),
            system: Some("cluster".to_owned()),
            job: Some(self.runs.to_string()),
            host: format!("node{:04}", self.below(4_000)),
            command: "python3".to_owned(),
            nodes: 1 << self.often_small(8),
            tasks: 1,
            started,
            probability: if is_sampled { 0.01 } else { 1.0 },
        };
        let process = Process {
            pid: 1 + self.below(4_000_000) as u32,
            started: started + 0.5,
            python: format!("3.{}.7", 8 + environment % 6),
            implementation: "cpython".to_owned(),
            executable: Some(format!("/opt/environments/{environment:03}/bin/python3")),
            prefix: format!("/opt/environments/{environment:03}"),
            base_prefix: if environment.is_multiple_of(3) {
                "/usr".to_owned()
            } else {
                format!("/opt/environments/{environment:03}")
            },
            conda: environment % 3 == 1,
        };
        let imports = self.imports(program, environment);
        Batch {
            run,
            end: Some(End { seconds: self.often_small(86_400) as f64 }),
            processes: vec![(process, imports)],
            libraries: Vec::new(),
        }
    }

    fn imports(&mut self, program: u64, environment: u64) -> Vec<Import> {
        let packages = 20 + mixed(program ^ 0xabcd) % 61;
        let place = |number: u64| {
            let (a, b) = (
                mixed(program * 1_000 + number) % PACKAGES,
                mixed(program * 1_000 + number + 500) % PACKAGES,
            );
            a * b / PACKAGES
        };
        let mut wanted: Vec<u64> = (0..packages).map(place).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let import = |(number, package): (usize, u64)| {
            let own_us = 500 + self.often_small(200_000);
            Import {
                number: number as u32,
                name: format!("package{package:04}"),
                path: Some(format!(
                    "/opt/environments/{environment:03}/lib/python3/site-packages/package{package:04}/__init__.py"
                )),
                version: Some(format!("{}.{}", package % 7, mixed(package * 100 + environment) % 5)),
                own_us,
                total_us: own_us * 3,
                flags: if package.is_multiple_of(5) { "pa" } else { "p" }.to_owned(),
                by: Some("__main__".to_owned()),
            }
        };
        wanted.into_iter().enumerate().map(import).collect()
    }
}

/// The file that a run leaves.
pub fn text(batch: &Batch) -> String {
    let mut text = Line::Run(batch.run.clone()).to_text();
    for (process, imports) in &batch.processes {
        text += &Line::Process(process.clone()).to_text();
        text.extend(imports.iter().map(|import| Line::Import(import.clone()).to_text()));
    }
    text.extend(batch.end.map(|end| Line::End(end).to_text()));
    text
}

fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
