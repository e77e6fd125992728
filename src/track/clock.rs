//! Dates as others write them: XALT in names of files, syslog in its lines. In local time, as both do.

use std::mem::MaybeUninit;

/// Names of months as syslog has them, whatever the locale.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2026_11_21_10_44_30_1234` for seconds since 1970: the last four digits are parts of a second.
pub fn xalt_date(seconds: f64) -> String {
    let time = local(seconds);
    let part = (seconds.rem_euclid(1.0) * 1e4).round().min(9999.0) as u32;
    format!(
        "{:04}_{:02}_{:02}_{:02}_{:02}_{:02}_{part:04}",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    )
}

/// Seconds since 1970 of what [`xalt_date`] wrote.
pub fn of_xalt_date(text: &str) -> Option<f64> {
    let parts: Vec<i32> = text.split('_').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let &[year, month, day, hour, minute, second, part] = &parts[..] else { return None };
    // SAFETY: all bits zero is a valid `tm`.
    let mut time: libc::tm = unsafe { MaybeUninit::zeroed().assume_init() };
    (time.tm_year, time.tm_mon, time.tm_mday) = (year.checked_sub(1900)?, month.checked_sub(1)?, day);
    (time.tm_hour, time.tm_min, time.tm_sec, time.tm_isdst) = (hour, minute, second, -1);
    // SAFETY: `time` is a whole `tm`.
    let seconds = unsafe { libc::mktime(&raw mut time) };
    (seconds != -1).then(|| seconds as f64 + f64::from(part) / 1e4)
}

/// `Nov 21 10:44:30`, the day padded with a blank.
pub fn syslog_date(seconds: f64) -> String {
    let time = local(seconds);
    let month = usize::try_from(time.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&MONTHS[0]);
    format!("{month} {:>2} {:02}:{:02}:{:02}", time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec)
}

fn local(seconds: f64) -> libc::tm {
    let seconds = seconds as libc::time_t; // saturates
    let mut time = MaybeUninit::zeroed();
    // SAFETY: both pointers are valid for the call; what it does not fill is zero.
    unsafe {
        libc::localtime_r(&raw const seconds, time.as_mut_ptr());
        time.assume_init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back_and_odd_ones_do_no_harm() {
        for seconds in [0.0, 1_541_520_853.75, 1_800_000_000.5] {
            assert!((of_xalt_date(&xalt_date(seconds)).unwrap() - seconds).abs() < 1e-3, "{seconds}");
        }
        let date = xalt_date(1_541_520_853.799_2);
        assert!(date.starts_with("2018_11_0") && date.ends_with("_7992") && date.len() == 24, "{date}");
        for odd in ["", "2018", "x_1_1_1_1_1_1", "2018_11_06_16_14_13", "-2147483648_0_1_1_1_1_1"] {
            assert_eq!(of_xalt_date(odd), None, "{odd}");
        }
        for odd in [f64::NAN, f64::INFINITY, -1e300] {
            let _ = (xalt_date(odd), syslog_date(odd));
        }
        assert_eq!(syslog_date(1_541_520_853.0).len(), 15);
    }
}
