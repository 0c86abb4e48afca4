//! Wakes a keyed step by the job's clock, whether or not anything comes.

use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Edge, Site, activate_after};
use crate::record::{Data, Packet};
use crate::watermark::Watermark;

/// When a step is to be woken next.
pub(crate) struct Alarm {
    period_ns: u64,
    next_ns: u64,
}

impl Alarm {
    /// Rings every `period`, first at the end of the present one; periods count from the clock's
    /// beginning.
    pub(crate) fn new(period: Duration, now_ns: u64) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut alarm = Self {
            period_ns,
            next_ns: 0,
        };
        alarm.rings(now_ns);
        alarm
    }

    /// Whether it is time. Periods that have passed unnoticed are not made up for.
    pub(crate) fn rings(&mut self, now_ns: u64) -> bool {
        if now_ns < self.next_ns {
            return false;
        }
        let begun = now_ns - now_ns % self.period_ns;
        self.next_ns = begun.saturating_add(self.period_ns);
        true
    }
}

/// Passes the packets on that all workers have addressed to this one. After every period it adds an
/// empty one, so that who takes them in can look at the clock.
pub(crate) fn waking<'s, T: Data>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    period: Duration,
) -> Edge<'s, T> {
    let (worker, clock) = (site.worker(), site.job.options.clock.clone());
    let mut builder = OperatorBuilder::new("wake".to_owned(), site.scope);
    let activator = site.scope.activator_for(builder.operator_info().address);
    let mut input = builder.new_input(input, Exchange::new(|packet: &Packet<T>| packet.to as u64));
    let (output, stream) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Packet<T>>>>::from(output);
    builder.build(move |capabilities| {
        let mut held = capabilities.into_iter().next();
        let mut alarm = Alarm::new(period, clock.now_ns());
        // An empty packet says of its sender's watermark what the last one said, no earlier than that
        // one: what is known in the next epoch says nothing in the open one.
        let (mut last_tick, mut from, mut watermark) = (0, worker, Watermark::START);
        let mut armed_ns = 0;
        move |frontiers| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                if let Some(last) = packets.last() {
                    (from, watermark) = (last.from, last.watermark);
                    last_tick = *capability.stamp().expect_singleton();
                }
                output.session(&capability).give_container(packets);
            });
            let frontier = frontiers[0].frontier();
            let (Some(tick), Some(capability)) = (frontier.first(), &mut held) else {
                held = None;
                return;
            };
            capability.downgrade(tick);
            let now_ns = clock.now_ns();
            if alarm.rings(now_ns) {
                let at = capability.delayed(&last_tick.max(*tick));
                output.session(&at).give(Packet {
                    from,
                    to: worker,
                    records: Vec::new(),
                    watermark,
                });
            }
            if clock.is_manual() {
                activate_after(&activator, Duration::from_millis(1));
            } else if armed_ns < alarm.next_ns {
                armed_ns = alarm.next_ns;
                activate_after(&activator, Duration::from_nanos(armed_ns - now_ns));
            }
        }
    });
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_once_for_all_periods_that_have_passed() {
        let mut alarm = Alarm::new(Duration::from_nanos(10), 25);
        let rings = [29, 30, 39, 71, 79, 80].map(|now| alarm.rings(now));
        assert_eq!(rings, [false, true, false, true, false, true]);
    }
}
