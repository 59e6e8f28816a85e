//! percentile_cont(f) and percentile_disc(f) WITHIN GROUP (ORDER BY x), by PostgreSQL's definitions (orderedsetaggs.c).

use super::answer;
use super::error::unsupported;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use datafusion::arrow::compute::{SortOptions, concat, sort_to_indices};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ExprSchemable, Signature, Volatility,
};
use std::sync::Arc;

/// Name of these aggregates, which no statement can write.
pub(super) const NAME: &str = "htap-top percentile";

/// What stands for percentile_disc, which the engine does not have, until the plan is rewritten.
pub(super) fn unread() -> AggregateUDF {
    AggregateUDF::new_from_impl(Percentile {
        name: "percentile_disc",
        continuous: false,
        fraction: 0,
        signature: Signature::variadic_any(Volatility::Immutable),
    })
}

/// Whether it is a percentile, as a statement writes it.
pub(super) fn is_one(function: &AggregateFunction) -> bool {
    matches!(function.func.name(), "percentile_cont" | "percentile_disc")
}

/// Replaces a percentile by ours.
pub(super) fn exact(function: &mut AggregateFunction, schema: &DFSchema) -> Result<()> {
    let continuous = function.func.name() == "percentile_cont";
    let params = &mut function.params;
    let ([value, Expr::Literal(fraction, _)], [sort]) =
        (params.args.as_slice(), params.order_by.as_slice())
    else {
        return Err(unsupported(
            "percentiles are supported with a constant fraction and WITHIN GROUP (ORDER BY x)",
        ));
    };
    let fraction = fraction.cast_to(&DataType::Float64)?;
    let ScalarValue::Float64(Some(fraction)) = fraction else {
        return Err(unsupported("the fraction of a percentile must be a number"));
    };
    if !(0.0..=1.0).contains(&fraction) {
        return Err(DataFusionError::Execution(format!(
            "percentile value {fraction} is not between 0 and 1"
        )));
    }
    if !sort.asc || params.distinct {
        return Err(unsupported(
            "percentiles with DISTINCT or in descending order are not supported",
        ));
    }
    let kind = value.get_type(schema)?;
    let number = kind.is_integer() || matches!(kind, DataType::Decimal128(_, _));
    if continuous && !number {
        return Err(unsupported(format!(
            "percentile_cont of {kind} is not supported"
        )));
    }
    let value = value.clone();
    params.args = vec![value];
    params.order_by = Vec::new();
    function.func = Arc::new(AggregateUDF::new_from_impl(Percentile {
        name: NAME,
        continuous,
        fraction: fraction.to_bits(),
        signature: Signature::any(1, Volatility::Immutable),
    }));
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    name: &'static str,
    /// Whether a value between two is computed, as double precision.
    continuous: bool,
    /// Bits of the fraction.
    fraction: u64,
    signature: Signature,
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if self.continuous {
            return Ok(DataType::Float64);
        }
        arguments
            .first()
            .cloned()
            .ok_or_else(|| unsupported("a percentile of nothing"))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let of = args.input_fields.first();
        let kind = of.map_or(DataType::Null, |field| field.data_type().clone());
        let list = DataType::List(Arc::new(Field::new_list_field(kind, true)));
        let name = format_state_name(args.name, "values");
        Ok(vec![Arc::new(Field::new(name, list, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let of = args.expr_fields.first();
        Ok(Box::new(Values {
            kind: of.map_or(DataType::Null, |field| field.data_type().clone()),
            continuous: self.continuous,
            fraction: f64::from_bits(self.fraction),
            arrays: Vec::new(),
        }))
    }
}

/// The values of a group.
#[derive(Debug)]
struct Values {
    kind: DataType,
    continuous: bool,
    fraction: f64,
    arrays: Vec<ArrayRef>,
}

impl Values {
    fn all(&self) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(|array| &**array).collect();
        if arrays.is_empty() {
            return Ok(new_empty_array(&self.kind));
        }
        Ok(concat(&arrays)?)
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.arrays.extend(values.first().cloned());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for lists in states {
            self.arrays.extend(lists.as_list::<i32>().iter().flatten());
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = SingleRowListArrayBuilder::new(self.all()?);
        Ok(vec![list.build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let all = self.all()?;
        let number = all.len() - all.null_count();
        if number == 0 {
            return if self.continuous {
                Ok(ScalarValue::Float64(None))
            } else {
                ScalarValue::try_from(&self.kind)
            };
        }
        let last = SortOptions {
            descending: false,
            nulls_first: false,
        };
        let order = sort_to_indices(&all, Some(last), None)?;
        let at = |place: usize| order.value(place.min(number - 1)) as usize;
        if !self.continuous {
            // The first of which so many are at or before it.
            let rank = (self.fraction * number as f64).ceil() as usize;
            return ScalarValue::try_from_array(&all, at(rank.saturating_sub(1)));
        }
        let place = self.fraction * (number - 1) as f64;
        let (low, high) = (place.floor(), place.ceil());
        let below = double(&all, at(low as usize))?;
        let value = if low.to_bits() == high.to_bits() {
            below
        } else {
            let above = double(&all, at(high as usize))?;
            below + (place - low) * (above - below)
        };
        Ok(ScalarValue::Float64(Some(value)))
    }

    fn size(&self) -> usize {
        // Groups share the buffers of a batch, of which each counts its part.
        let arrays = self.arrays.iter().map(|array| {
            let part = array.to_data().get_slice_memory_size();
            part.unwrap_or_else(|_| array.get_array_memory_size()) + size_of::<ArrayRef>()
        });
        size_of::<Self>() + arrays.sum::<usize>()
    }
}

/// A number as double precision, rounded as PostgreSQL reads it from text.
fn double(all: &ArrayRef, at: usize) -> Result<f64> {
    let text = match all.data_type() {
        DataType::Decimal128(_, scale) => {
            answer::decimal(all.as_primitive::<Decimal128Type>().value(at), *scale)
        }
        _ => ScalarValue::try_from_array(all, at)?.to_string(),
    };
    let number = text.parse();
    number.map_err(|_| DataFusionError::Execution(format!("{text} is no double precision")))
}
