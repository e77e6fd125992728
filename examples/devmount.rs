use spinney::holder::estate::*;
use std::os::fd::{OwnedFd, AsFd, AsRawFd, FromRawFd};
fn memfd(n:&str)->OwnedFd{ rustix::fs::memfd_create(n, rustix::fs::MemfdFlags::CLOEXEC).unwrap() }
fn main(){
 let a:Vec<String>=std::env::args().collect();
 let view=std::path::PathBuf::from(&a[1]); let at=&a[2];
 let cache: Option<u64>=a.get(3).map(|s|s.parse().unwrap());
 let fuse=std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
 let root=rustix::fs::open(&view, rustix::fs::OFlags::PATH|rustix::fs::OFlags::DIRECTORY|rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap();
 let opts=format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other\0",fuse.as_raw_fd());
 let c=std::ffi::CString::new(at.as_str()).unwrap();
 let r=unsafe{libc::mount(c"spinney".as_ptr(),c.as_ptr(),c"fuse".as_ptr(),libc::MS_RDONLY|libc::MS_NOATIME,opts.as_ptr().cast())};
 assert_eq!(r,0,"{}",std::io::Error::last_os_error());
 let counters=memfd("c"); rustix::fs::ftruncate(&counters,4096).unwrap();
 let (p,_q)=spinney::holder::channel::Channel::pair().unwrap(); let _q=_q;
 let estate=Manifest{settings:Settings{job:"x".into(),views:vec![view],mount_under:None,way_in:WayIn::MountNamespace,caller:Caller{uid:0,gid:0,groups:vec![]},cache_bytes:cache,absence_ttl_seconds:1.0,log:None,log_level:"info".into(),report:None,command:vec![],record_args:false,masked:vec![]},
  roots:vec![root],connections:vec![Connection{fuse:fuse.into(),requests:memfd("r"),nodes:memfd("n"),only_view:Some(0),unmounter:None}],counters,ledger:memfd("ledger"),listener:memfd("l"),peer:p.into()};
 let rec=spinney::profile::recorder::Recorder::shared(&estate.counters).unwrap();
 std::thread::spawn(move||{ use std::io::BufRead; for _ in std::io::stdin().lock().lines(){ for c in spinney::profile::recorder::Counter::ALL{ let v=rec.get(*c); if v>0 {eprint!("{}={} ",c.name(),v);} } eprintln!(); }});
 tracing_subscriber::fmt().with_writer(std::io::stderr).init();
 spinney::daemon::run(estate);
}
