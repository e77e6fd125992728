//! What an import costs on 1 to 100,000 nodes.
mod cast;
mod figures;
mod job;
mod workload;
use figures::*;
fn main() {
    let t = std::time::Instant::now();
    for import in [W, TORCH] { for s in [SLOW, FAST, LARGE] {
        for n in [1, 8, 64, 512, 1024, 4096, 16384, 100_000] {
            let o = cast::spinney(&import, s, n);
            let d = cast::direct(&import, s, n);
            let c = if (64..=4096).contains(&n) { job::seconds(cast::spinney_by_level(&import, s, n).slowest) } else { 0.0 };
            println!("{} {} {n}: {:.2} (short {:.2}) direct {:.2} calls {} events {} {:?}", import.name, s.name, job::seconds(o.slowest), c, job::seconds(d.slowest), o.calls, o.events, t.elapsed());
        }
    }}
    let _ = cast::direct_whole(&W, SLOW, 64);
    for p in [32, 128, 512, 1024] { println!("{p} {:?}", cast::spinney_whole(&W, FAST, 512, p)); }
}
