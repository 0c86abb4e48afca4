//! Points at which a test can have the job end at once, before and after each durable step.
//!
//! In anything but the engine's own tests and simulations there is nothing here.

#[cfg(not(test))]
pub(crate) use off::Failpoint;
#[cfg(test)]
pub(crate) use on::Failpoint;

#[cfg(not(test))]
mod off {
    use crate::job::JobContext;
    use crate::turns;

    /// No point at all.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Failpoint(());

    impl Failpoint {
        #[inline(always)]
        pub(crate) fn is_hit(&self, _: &JobContext, name: &str) -> bool {
            turns::is_hit(name)
        }
    }
}

#[cfg(test)]
mod on {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::job::JobContext;
    use crate::turns;

    /// Where to end, and after how many times of coming by.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Failpoint(Option<(&'static str, Arc<AtomicU64>)>);

    impl Failpoint {
        pub(crate) fn at(name: &'static str, times: u64) -> Self {
            Self(Some((name, Arc::new(AtomicU64::new(times)))))
        }

        /// Whether the job ends here.
        pub(crate) fn is_hit(&self, job: &JobContext, name: &str) -> bool {
            let Some((wanted, left)) = &self.0 else {
                return turns::is_hit(name);
            };
            let is_hit = *wanted == name && left.fetch_sub(1, Ordering::SeqCst) == 1;
            if is_hit {
                job.fail(format!("failpoint `{name}`"));
            }
            is_hit || job.is_aborted()
        }
    }
}
