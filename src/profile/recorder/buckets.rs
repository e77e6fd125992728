//! Buckets of durations: eight to each doubling, so that a figure read from them is at most 12.5 % too high.
//!
//! Not here: the counters in the buckets (`events`).

/// Buckets to a doubling, as a power of two: 2^3.
const FINE_BITS: u32 = 3;

/// Buckets in all: up to 2^40 ns, some 18 minutes; what takes longer is in the last.
pub const BUCKETS: usize = ((40 - FINE_BITS as usize) << FINE_BITS) + (1 << FINE_BITS);

/// The bucket of a duration.
pub fn bucket_of(nanoseconds: u64) -> usize {
    let fine = 1_u64 << FINE_BITS;
    if nanoseconds < fine {
        return nanoseconds as usize;
    }
    let doubling = nanoseconds.ilog2() - FINE_BITS;
    let within = (nanoseconds >> doubling) & (fine - 1);
    let bucket = ((u64::from(doubling) + 1) << FINE_BITS) + within;
    (bucket as usize).min(BUCKETS - 1)
}

/// The longest duration of a bucket, in nanoseconds.
pub fn longest_in(bucket: usize) -> u64 {
    let fine = 1_usize << FINE_BITS;
    if bucket < fine {
        return bucket as u64;
    }
    let doubling = (bucket >> FINE_BITS) - 1;
    let within = (bucket & (fine - 1)) | fine;
    ((within as u64 + 1) << doubling) - 1
}

/// The longest duration of the doubling that a bucket lies in, given that of the bucket; for readers to whom eight to each
/// are too many.
pub fn longest_in_doubling(longest: u64) -> u64 {
    longest.saturating_add(1).checked_next_power_of_two().map_or(u64::MAX, |end| end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_duration_lies_within_its_bucket(nanoseconds in 0_u64..1 << 40) {
            let bucket = bucket_of(nanoseconds);
            prop_assert!(nanoseconds <= longest_in(bucket));
            prop_assert!(bucket == 0 || longest_in(bucket - 1) < nanoseconds);
            prop_assert!(longest_in(bucket) as f64 <= nanoseconds as f64 * 1.125);
        }
    }

    #[test]
    fn no_bucket_lies_in_two_doublings() {
        for bucket in 1..BUCKETS {
            let (shortest, longest) = (longest_in(bucket - 1) + 1, longest_in(bucket));
            assert_eq!(longest_in_doubling(longest), longest_in_doubling(shortest), "{bucket}");
            assert!(longest_in_doubling(longest) >= longest);
        }
        assert_eq!((longest_in_doubling(1023), longest_in_doubling(1024)), (1023, 2047));
        assert_eq!(longest_in_doubling(u64::MAX), u64::MAX);
    }

    #[test]
    fn no_duration_is_too_long() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }
}
