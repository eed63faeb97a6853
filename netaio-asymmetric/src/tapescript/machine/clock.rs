//! Checks of the time.

use super::{Done, Run};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

/// How many seconds ahead of the clock a time may be.
const AHEAD: u64 = 60;

impl Run<'_> {
    /// Whether the time that the scripts are told has come to an item, and is not
    /// too far ahead of the clock.
    pub(super) fn check_timestamp(&mut self) -> Done {
        let earliest = self.time(Opcode::CheckTimestamp)?;
        let timestamp = self.inputs.timestamp;
        let has_come = earliest.is_some_and(|earliest| timestamp >= earliest);
        let ahead = timestamp.saturating_sub(self.inputs.now);
        self.put_bool(has_come && ahead < AHEAD)
    }

    /// Whether the clock has come to an item, or nearly so.
    pub(super) fn check_epoch(&mut self) -> Done {
        let earliest = self.time(Opcode::CheckEpoch)?;
        let now = self.inputs.now;
        let ahead = earliest.map(|earliest| earliest.saturating_sub(now));
        self.put_bool(ahead.is_some_and(|ahead| ahead < AHEAD))
    }

    /// An item as an unsigned number of seconds; `None` if that is out of reach.
    fn time(&mut self, opcode: Opcode) -> Result<Option<u64>, ScriptError> {
        let item = self.take()?;
        if item.is_empty() {
            return Err(ScriptError::BadLength { opcode, length: 0 });
        }
        let number = item.iter().try_fold(0_u64, |number, byte| {
            let shifted = number.checked_mul(256)?;
            Some(shifted | u64::from(*byte))
        });
        Ok(number)
    }
}
