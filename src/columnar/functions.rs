//! Functions whose results are PostgreSQL's where the engine's own would differ: integers that overflow with an error, exact
//! division of numerics, and times in the session's zone.

use super::table::instant;
use super::zone::{Unit, Zone};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::kernels::numeric::{add, div, mul, sub};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, TimestampMicrosecondType, i256};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::cmp::Ordering;
use std::sync::Arc;

/// Digits after the point of a quotient: as many as PostgreSQL keeps of one that is not tiny.
pub(super) const QUOTIENT_SCALE: i8 = 20;
/// The type of a quotient.
pub(super) const QUOTIENT: DataType = DataType::Decimal128(38, QUOTIENT_SCALE);

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// bigint + bigint
    Add,
    /// bigint - bigint
    Subtract,
    /// bigint * bigint
    Multiply,
    /// bigint / bigint
    Divide,
    /// numeric / numeric
    Quotient,
    /// round(numeric, n)
    Round(i8),
    /// date_trunc(unit, timestamptz)
    Truncate(Unit),
    /// timestamptz::date
    Date,
    /// extract(epoch FROM timestamptz), a numeric
    Epoch,
    /// The same before PostgreSQL 14: double precision, which is not computed
    EpochDouble,
    /// extract(epoch FROM timestamptz)::bigint, with half a second rounded to even before PostgreSQL 14, else up
    EpochSeconds { to_even: bool },
    /// A call that was not rewritten yet.
    Unread(&'static str),
}

/// A call of one of them.
pub(super) fn call(kind: Kind, arguments: Vec<Expr>, zone: &Arc<Zone>) -> Expr {
    let signature = match kind {
        Kind::Add | Kind::Subtract | Kind::Multiply | Kind::Divide => {
            Signature::exact(vec![DataType::Int64; 2], Volatility::Immutable)
        }
        Kind::Quotient => Signature::any(2, Volatility::Immutable),
        Kind::Unread(_) => Signature::variadic_any(Volatility::Immutable),
        Kind::Round(_) => Signature::any(1, Volatility::Immutable),
        Kind::Truncate(_)
        | Kind::Date
        | Kind::Epoch
        | Kind::EpochDouble
        | Kind::EpochSeconds { .. } => Signature::exact(vec![instant()], Volatility::Immutable),
    };
    let function = Function {
        kind,
        signature,
        zone: Arc::clone(zone),
    };
    ScalarUDF::new_from_impl(function).call(arguments)
}

/// What stands for functions that the engine does not have, or not as PostgreSQL has them, until the plan is rewritten.
pub(super) fn unread() -> [ScalarUDF; 2] {
    ["round", "date_trunc"].map(|name| {
        ScalarUDF::new_from_impl(Function {
            kind: Kind::Unread(name),
            signature: Signature::variadic_any(Volatility::Immutable),
            zone: Arc::new(Zone::utc()),
        })
    })
}

/// Beginning of the names of these functions, which no statement can write.
pub(super) const PREFIX: &str = "htap-top ";
/// Name of [`Kind::Epoch`].
const EPOCH: &str = "htap-top epoch";

/// The time of extract(epoch FROM time).
pub(super) fn epoch_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(function) if function.name() == EPOCH => function.args.first(),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    signature: Signature,
    zone: Arc<Zone>,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Add => "htap-top add",
            Kind::Subtract => "htap-top subtract",
            Kind::Multiply => "htap-top multiply",
            Kind::Divide => "htap-top divide",
            Kind::Quotient => "htap-top quotient",
            Kind::Round(_) => "htap-top round",
            Kind::Truncate(_) => "htap-top date_trunc",
            Kind::Date => "htap-top date",
            Kind::Epoch | Kind::EpochDouble => EPOCH,
            Kind::EpochSeconds { .. } => "htap-top epoch seconds",
            Kind::Unread(name) => name,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Add
            | Kind::Subtract
            | Kind::Multiply
            | Kind::Divide
            | Kind::EpochSeconds { .. } => DataType::Int64,
            Kind::Quotient => QUOTIENT,
            Kind::Round(scale) => DataType::Decimal128(38, scale),
            Kind::Truncate(_) | Kind::Unread("date_trunc") => instant(),
            Kind::Unread(_) => DataType::Decimal128(38, 0),
            Kind::Date => DataType::Date32,
            Kind::Epoch => DataType::Decimal128(20, 6),
            Kind::EpochDouble => DataType::Float64,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = arguments
            .args
            .iter()
            .all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let result = self.compute(&arrays)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &result, 0,
            )?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

impl Function {
    fn compute(&self, arrays: &[ArrayRef]) -> Result<ArrayRef> {
        let (first, second) = match arrays {
            [first] => (first, first),
            [first, second] => (first, second),
            _ => return Err(wrong("a call with other arguments")),
        };
        let checked = |result: std::result::Result<ArrayRef, ArrowError>| {
            result.map_err(|error| match error {
                ArrowError::DivideByZero => wrong("division by zero"),
                ArrowError::ArithmeticOverflow(_) => wrong("bigint out of range"),
                error => error.into(),
            })
        };
        match self.kind {
            Kind::Add => checked(add(first, second)),
            Kind::Subtract => checked(sub(first, second)),
            Kind::Multiply => checked(mul(first, second)),
            Kind::Divide => checked(div(first, second)),
            Kind::Quotient => quotients(first, second),
            Kind::Round(scale) => rounded(first, scale),
            Kind::Unread(name) => Err(wrong(&format!("{name}() was not rewritten"))),
            Kind::Truncate(unit) => {
                let times = first.as_primitive::<TimestampMicrosecondType>();
                let truncated: Result<TimestampMicrosecondArray> = times
                    .iter()
                    .map(|at| {
                        at.map(|at| self.zone.truncate(unit, at).ok_or_else(beyond))
                            .transpose()
                    })
                    .collect();
                Ok(Arc::new(truncated?.with_timezone("UTC")))
            }
            Kind::Date => {
                let times = first.as_primitive::<TimestampMicrosecondType>();
                let dates: Result<Date32Array> = times
                    .iter()
                    .map(|at| {
                        at.map(|at| self.zone.date(at).ok_or_else(beyond))
                            .transpose()
                    })
                    .collect();
                Ok(Arc::new(dates?))
            }
            Kind::Epoch => {
                let times = first.as_primitive::<TimestampMicrosecondType>();
                let seconds: Decimal128Array = times.unary(i128::from);
                Ok(Arc::new(seconds.with_precision_and_scale(20, 6)?))
            }
            Kind::EpochSeconds { to_even } => {
                let times = first.as_primitive::<TimestampMicrosecondType>();
                let seconds: Int64Array = times.unary(|at| seconds(at, to_even));
                Ok(Arc::new(seconds))
            }
            Kind::EpochDouble => Err(wrong("double precision is not supported")),
        }
    }
}

fn wrong(why: &str) -> DataFusionError {
    DataFusionError::Execution(why.to_owned())
}

fn beyond() -> DataFusionError {
    wrong("a time is more than a year from those of the tables: its time zone is not known here")
}

/// A time in whole seconds.
fn seconds(micros: i64, half_to_even: bool) -> i64 {
    const SECOND: i64 = 1_000_000;
    let (whole, rest) = (micros.div_euclid(SECOND), micros.rem_euclid(SECOND));
    let up = match rest.cmp(&(SECOND / 2)) {
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal if half_to_even => whole % 2 != 0,
        // Away from zero.
        Ordering::Equal => whole >= 0,
    };
    whole + i64::from(up)
}

/// A column of decimals, and the digits after their point.
fn decimals(array: &ArrayRef) -> Result<(&Decimal128Array, i8)> {
    match array.data_type() {
        DataType::Decimal128(_, scale) => Ok((array.as_primitive::<Decimal128Type>(), *scale)),
        _ => Err(wrong("a number of another type")),
    }
}

fn quotients(dividends: &ArrayRef, divisors: &ArrayRef) -> Result<ArrayRef> {
    let ((dividends, of_dividends), (divisors, of_divisors)) =
        (decimals(dividends)?, decimals(divisors)?);
    let pairs = dividends.iter().zip(divisors.iter());
    let quotients: Result<Decimal128Array> = pairs
        .map(|(dividend, divisor)| match (dividend, divisor) {
            (Some(_), Some(0)) => Err(wrong("division by zero")),
            (Some(dividend), Some(divisor)) => {
                quotient(dividend, of_dividends, divisor, of_divisors).map(Some).ok_or_else(|| {
                    wrong("a quotient has more digits than the column store computes with: ask PostgreSQL")
                })
            }
            _ => Ok(None),
        })
        .collect();
    Ok(Arc::new(
        quotients?.with_precision_and_scale(38, QUOTIENT_SCALE)?,
    ))
}

/// A quotient, rounded as PostgreSQL rounds it (select_div_scale() of numeric.c), with [`QUOTIENT_SCALE`]. `None` if it does
/// not fit.
fn quotient(dividend: i128, of_dividend: i8, divisor: i128, of_divisor: i8) -> Option<i128> {
    if dividend == 0 {
        return Some(0);
    }
    // PostgreSQL's digits are those to base 10000, counted from the point.
    let (weight_1, first_1) = leading(dividend.unsigned_abs(), of_dividend);
    let (weight_2, first_2) = leading(divisor.unsigned_abs(), of_divisor);
    let weight = weight_1 - weight_2 - i32::from(first_1 <= first_2);
    let scale = (16 - weight * 4)
        .max(i32::from(of_dividend))
        .max(i32::from(of_divisor))
        .max(0);
    let kept = u32::try_from(i32::from(QUOTIENT_SCALE) - scale).ok()?;
    // |dividend| / 10^of_dividend / (|divisor| / 10^of_divisor) * 10^scale
    let shift = scale + i32::from(of_divisor) - i32::from(of_dividend);
    let ten = |power: i32| i256::from_i128(10).checked_pow(u32::try_from(power).ok()?);
    let mut above = i256::from_i128(i128::try_from(dividend.unsigned_abs()).ok()?);
    let mut below = i256::from_i128(i128::try_from(divisor.unsigned_abs()).ok()?);
    if shift >= 0 {
        above = above.checked_mul(ten(shift)?)?;
    } else {
        below = below.checked_mul(ten(-shift)?)?;
    }
    let (whole, rest) = (above.checked_div(below)?, above.checked_rem(below)?);
    let up = rest.checked_mul(i256::from_i128(2))? >= below;
    let whole = whole
        .to_i128()?
        .checked_add(i128::from(up))?
        .checked_mul(10_i128.checked_pow(kept)?)?;
    let signed = if (dividend < 0) == (divisor < 0) {
        whole
    } else {
        -whole
    };
    (whole < 10_i128.pow(38)).then_some(signed)
}

/// Position and value of the first digit to base 10000 of a number.
fn leading(number: u128, scale: i8) -> (i32, u128) {
    // Digits to base 10000 are aligned at the point.
    let odd = i32::from(scale).rem_euclid(4);
    let padding = if odd == 0 { 0 } else { 4 - odd };
    let mut weight = -(i32::from(scale) + padding) / 4;
    // A product of 10^3 at most, of a number of 38 digits, could overflow; its last digit does not matter then.
    let padded = number.checked_mul(10_u128.pow(padding.unsigned_abs()));
    let mut number = padded.unwrap_or_else(|| {
        weight += 1;
        number / 10_u128.pow(4 - padding.unsigned_abs())
    });
    while number >= 10_000 {
        number /= 10_000;
        weight += 1;
    }
    (weight, number)
}

fn rounded(array: &ArrayRef, to: i8) -> Result<ArrayRef> {
    let (numbers, scale) = decimals(array)?;
    let power = |digits: i8| 10_i128.checked_pow(u32::from(digits.unsigned_abs()));
    let round = |number: i128| {
        if to >= scale {
            return number.checked_mul(power(to - scale)?);
        }
        let unit = power(scale - to)?;
        // Half away from zero.
        Some(number / unit + (number % unit) / (unit / 2).max(1))
    };
    let rounded: Result<Decimal128Array> = numbers
        .iter()
        .map(|number| {
            number
                .map(|number| round(number).ok_or_else(|| wrong("numeric field overflow")))
                .transpose()
        })
        .collect();
    Ok(Arc::new(rounded?.with_precision_and_scale(38, to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_second_is_rounded_as_postgresql_rounds_it() {
        // Half seconds around zero: as numeric (14 and later), and as double precision.
        for (halves, numeric, double) in [
            (-5, -3, -2),
            (-3, -2, -2),
            (-1, -1, 0),
            (0, 0, 0),
            (1, 1, 0),
            (3, 2, 2),
            (5, 3, 2),
        ] {
            let micros = halves * 500_000;
            let found = (seconds(micros, false), seconds(micros, true));
            assert_eq!(found, (numeric, double), "{halves}");
        }
        assert_eq!((seconds(-500_001, true), seconds(499_999, true)), (-1, 0));
    }

    #[test]
    fn quotients_are_those_of_postgresql() {
        // dividend, divisor, as SELECT dividend / divisor gives it.
        for (dividend, of_dividend, divisor, of_divisor, text) in [
            (10, 0, 3, 0, "3.3333333333333333"),
            (2, 0, 3, 0, "0.66666666666666666667"),
            (12_345_678, 2, 7, 0, "17636.682857142857"),
            (-100, 2, 8, 0, "-0.12500000000000000000"),
            (0, 2, 8, 0, "0"),
            (99_999_999_999_999, 2, 7, 0, "142857142857.14142857"),
        ] {
            let found = quotient(dividend, of_dividend, divisor, of_divisor).unwrap();
            let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
            let expected: i128 = format!("{whole}{decimals:0<20}").parse().unwrap();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(
            quotient(1, 2, 1_000_000_000, 0),
            None,
            "PostgreSQL keeps more digits of it"
        );
    }
}
