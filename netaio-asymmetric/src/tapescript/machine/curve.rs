//! Scalars and points.

use super::signatures::array;
use super::{Done, Run, is_true};
use crate::tapescript::ed25519;
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

impl Run<'_> {
    /// What a seed of any length multiplies the base point with.
    pub(super) fn derive_scalar(&mut self) -> Done {
        let seed = self.take()?;
        self.work.spend_bytes(seed.len())?;
        let scalar = ed25519::secret_scalar(&seed);
        self.store_result("x", &scalar)?;
        self.put(scalar.to_vec())
    }

    pub(super) fn clamp_scalar(&mut self) -> Done {
        let is_secret = is_true(&[self.operand()?]);
        let mut scalar = self.take_clamped(Opcode::ClampScalar)?;
        if is_secret {
            ed25519::clamp_secret(&mut scalar);
        }
        self.put(scalar.to_vec())
    }

    /// The first 32 bytes of an item, without the top bit.
    pub(super) fn take_clamped(
        &mut self,
        opcode: Opcode,
    ) -> Result<[u8; 32], ScriptError> {
        let item = self.take()?;
        let length = item.len();
        let scalar = item.first_chunk();
        let scalar = scalar.ok_or(ScriptError::BadLength { opcode, length })?;
        Ok(ed25519::clear_top_bit(*scalar))
    }

    pub(super) fn add_scalars(&mut self) -> Done {
        let opcode = Opcode::AddScalars;
        let count = self.count()?;
        let mut scalars = self.take_many(count)?.into_iter();
        // A lone one is left as it is, of whatever length.
        let first = scalars.next().ok_or(ScriptError::StackEmpty)?;
        let sum = scalars.try_fold(first, |sum, scalar| {
            let (sum, scalar) = (array(&sum, opcode)?, array(&scalar, opcode)?);
            Ok(ed25519::add_scalars(&sum, &scalar).to_vec())
        });
        self.put(sum?)
    }

    /// The top item less those below it.
    pub(super) fn subtract_scalars(&mut self) -> Done {
        let opcode = Opcode::SubtractScalars;
        let count = self.count()?;
        let mut rest = self.take()?;
        for _ in 1..count {
            let item = self.take()?;
            let (one, other) = (array(&rest, opcode)?, array(&item, opcode)?);
            rest = ed25519::subtract_scalars(&one, &other).to_vec();
        }
        self.put(rest)
    }

    pub(super) fn derive_point(&mut self) -> Done {
        let scalar = self.take_array(Opcode::DerivePoint)?;
        let point = self.base_multiple(&scalar)?;
        self.store_result("X", &point)?;
        self.put(point.to_vec())
    }

    /// Adds points, all of which must be valid.
    pub(super) fn add_points(&mut self) -> Done {
        let count = self.count()?;
        let points = self.take_many(count)?;
        let mut sum = None;
        for point in &points {
            let point = array(point, Opcode::AddPoints)?;
            self.work.spend_curve()?;
            let point = ed25519::valid_point(&point).ok_or(ScriptError::BadPoint)?;
            sum = Some(sum.map_or(point, |sum| sum + point));
        }
        let sum = sum.ok_or(ScriptError::StackEmpty)?;
        self.put(sum.compress().to_bytes().to_vec())
    }

    /// The top item less those below it; any points of the curve.
    pub(super) fn subtract_points(&mut self) -> Done {
        let opcode = Opcode::SubtractPoints;
        let count = self.count()?;
        let mut rest = self.take()?;
        for _ in 1..count {
            let item = self.take()?;
            self.work.spend_curve()?;
            let one = ed25519::any_point(&array(&rest, opcode)?);
            let other = ed25519::any_point(&array(&item, opcode)?);
            let (one, other) = one.zip(other).ok_or(ScriptError::BadPoint)?;
            rest = (one - other).compress().to_bytes().to_vec();
        }
        self.put(rest)
    }

    pub(super) fn base_multiple(
        &mut self,
        scalar: &[u8; 32],
    ) -> Result<[u8; 32], ScriptError> {
        self.work.spend_curve()?;
        ed25519::base_multiple(scalar).ok_or(ScriptError::BadScalar)
    }

    /// The sum of two points, both of which must be valid.
    pub(super) fn add_two_points(
        &mut self,
        one: &[u8],
        other: &[u8],
        opcode: Opcode,
    ) -> Result<[u8; 32], ScriptError> {
        self.work.spend_curve()?;
        self.work.spend_curve()?;
        let one = ed25519::valid_point(&array(one, opcode)?);
        let other = ed25519::valid_point(&array(other, opcode)?);
        let (one, other) = one.zip(other).ok_or(ScriptError::BadPoint)?;
        Ok((one + other).compress().to_bytes())
    }
}
