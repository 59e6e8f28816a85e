use super::super::*;
use super::{buffer, dark, looks};
use crate::format::Unit;
use ratatui::style::Modifier;

/// A day of hourly sales whose last hour is incomplete.
struct Day {
    labels: Vec<String>,
    values: Vec<f64>,
    before: Vec<f64>,
    partial: Vec<bool>,
    theme: Theme,
}

impl Day {
    fn new() -> Self {
        let thousands = [
            18, 20, 20, 25, 31, 33, 38, 36, 31, 25, 20, 16, 12, 13, 19, 26, 35, 44, 52, 57, 54, 47,
            36, 9,
        ];
        let values: Vec<f64> = thousands.map(|sum| f64::from(sum) * 1e3).to_vec();
        let hour = |hour| match hour {
            23 => "now".to_owned(),
            hour => format!("{:02}h", (hour + 15) % 24),
        };
        Self {
            labels: (0..24).map(hour).collect(),
            before: values.iter().map(|value| value * 0.7 + 9e3).collect(),
            partial: (0..24).map(|hour| hour == 23).collect(),
            values,
            theme: dark(),
        }
    }

    fn bars(&self) -> BarChart<'_> {
        BarChart {
            labels: &self.labels,
            values: &self.values,
            compare: None,
            partial: &self.partial,
            unit: Unit::Money,
            theme: &self.theme,
        }
    }

    fn compared(&self) -> BarChart<'_> {
        BarChart {
            compare: Some(&self.before),
            ..self.bars()
        }
    }

    fn line(&self) -> LineChart<'_> {
        LineChart {
            labels: &self.labels,
            values: &self.values,
            behind: &[],
            target: None,
            unit: Unit::Money,
            theme: &self.theme,
        }
    }
}

#[test]
fn bars_fill_the_width_and_the_hour_that_runs_is_hatched() {
    let day = Day::new();
    looks(
        &buffer(day.bars(), 50, 8),
        "
 60k ┤                                 ▂▆▆▃▃
     │                               ▃▃█████▆▆
     │       ▁▁▂▂▆▅▅▁▁             ▄▄█████████▅▅
 30k ┤     ▄▄█████████▄▄         ▅▅█████████████
     │▆███████████████████▅▅▂▂▂▇▇███████████████
     │██████████████████████████████████████████▒▒
   0 ┼────────────────────────────────────────────
         17h   20h  23h   02h  05h   08h  11h  now
",
    );
    looks(
        &buffer(day.bars(), 100, 12),
        "
 60k ┤                                                                          ▄▄
     │                                                                      ▅▅  ██  ██
     │                                                                  ▃▃  ██  ██  ██  ▇▇
     │                       ▃▃                                         ██  ██  ██  ██  ██
     │               ▁▁  ▄▄  ██  ██  ▁▁                             ▇▇  ██  ██  ██  ██  ██  ██
 30k ┤           ▁▁  ██  ██  ██  ██  ██  ▁▁                     ▃▃  ██  ██  ██  ██  ██  ██  ██
     │   ▃▃  ▃▃  ██  ██  ██  ██  ██  ██  ██  ▃▃             ▁▁  ██  ██  ██  ██  ██  ██  ██  ██
     │██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ▅▅     ▁▁  ██  ██  ██  ██  ██  ██  ██  ██  ██
     │██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ▒▒
     │██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ▒▒
   0 ┼──────────────────────────────────────────────────────────────────────────────────────────────
         16h     18h     20h     22h     00h     02h    04h     06h     08h     10h     12h     now
",
    );
}

#[test]
fn bars_show_the_newest_where_there_is_little_room() {
    let day = Day::new();
    looks(
        &buffer(day.bars(), 30, 3),
        "
                     ▂▅▇▇▆▃
   ▂▂▄▅▇▆▆▄▂      ▂▂▆██████▆
▇████████████▆▆▅▅███████████▒▒
",
    );
    looks(
        &buffer(day.bars(), 18, 6),
        "
 60k ┤      ▄▆▅▁
     │    ▃▇████▃
 30k ┤  ▂▆███████
     │▆▇█████████▒
   0 ┼────────────
           08h now
",
    );
}

#[test]
fn bars_are_compared_by_a_line_above_or_cut_into_them() {
    let day = Day::new();
    let drawn = buffer(day.compared(), 100, 12);
    looks(
        &drawn,
        "
 60k ┤                                                                          ▄▄
     │                                                                      ▅▅  ──  ██
     │                                                                  ▃▃  ──  ██  ──  ▇▇
     │                       ▃▃                                         ──  ██  ██  ██  ──
     │               ▁▁  ▄▄  ──  ──  ▁▁                             ▇▇  ██  ██  ██  ██  ██  ──
 30k ┤           ▁▁  ██  ██  ██  ██  ██  ▁▁                     ▃▃  ██  ██  ██  ██  ██  ██  ██
     │── ▃▃  ▃▃  ██  ██  ██  ██  ██  ██  ██  ▃▃  ──         ▁▁  ██  ██  ██  ██  ██  ██  ██  ██
     │██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ▅▅  ── ▁▁  ██  ██  ██  ██  ██  ██  ██  ██  ██  ──
     │██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ▒▒
     │██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ██ ██  ██  ██  ██  ██  ██  ██  ██  ██  ██  ▒▒
   0 ┼──────────────────────────────────────────────────────────────────────────────────────────────
         16h     18h     20h     22h     00h     02h    04h     06h     08h     10h     12h     now
",
    );
    let cut = drawn.content.iter().filter(|cell| cell.symbol() == "─");
    let reversed = cut.filter(|cell| cell.modifier.contains(Modifier::REVERSED));
    assert_eq!(reversed.count(), 16);
}

#[test]
fn a_negative_bar_is_not_none_and_an_unknown_one_is_a_gap() {
    let day = Day::new();
    let bars = BarChart {
        values: &[3.0, -1.0, f64::NAN, f64::INFINITY, 0.0, 2.0],
        partial: &[],
        ..day.bars()
    };
    looks(
        &buffer(bars, 24, 2),
        "
███         ███     ▃▃▃
███ ▼▼▼     ███     ███
",
    );
}

#[test]
fn a_line_holds_together() {
    let day = Day::new();
    looks(
        &buffer(day.line(), 50, 8),
        "
 60k ┤                                  ⣀⠤⠒⠤⣀
     │                               ⢀⠤⠊     ⠑⢄
     │       ⢀⣀⡠⠔⠊⠒⠒⠤⡀             ⢀⠔⠁         ⠑⡄
 30k ┤ ⢀⣀⣀⣀⠤⠊⠁       ⠈⠑⠢⢄⡀       ⡠⠔⠁            ⠸⡀
     │⠉⠁                 ⠈⠑⠒⠤⠤⠤⠔⠉                ⢣
     │                                           ⠈
   0 ┼────────────────────────────────────────────
         17h   20h  23h   02h   05h  08h   11h now
",
    );
    looks(
        &buffer(day.line(), 20, 3),
        "
              ⢀⠔⠒⠢⡀
⢀⣀⡠⠔⠒⠉⠑⠤⣀   ⣀⠔⠁   ⠈⢆
⠁        ⠉⠒⠊       ⠘
",
    );
}

#[test]
fn a_line_goes_below_zero_and_has_gaps() {
    let day = Day::new();
    let line = LineChart {
        values: &[-4.0, 2.0, f64::NAN, 3.0, 1.0],
        labels: &[],
        ..day.line()
    };
    looks(
        &buffer(line, 30, 7),
        "
   3 ┤      ⡀          ⠈⠑⠢⢄⡀
     │    ⢀⠎               ⠈⠑⠒
 0.2 ┤   ⡰⠁
     │ ⢀⠎
     │⡠⠃
  -4 ┼────────────────────────
",
    );
}

#[test]
fn a_ranking_folds_its_tail_and_keeps_the_sum() {
    let theme = dark();
    let items = [
        ("Electronics", 412e3),
        ("Fashion", 281e3),
        ("Games", 7e3),
        ("Home", 207e3),
        ("Beauty", 133e3),
        ("Toys", 94e3),
        ("Sports", 71e3),
        ("Garden", 20e3),
        ("Books", 15e3),
    ];
    let ranking = Ranking {
        items: &items,
        unit: Unit::Money,
        theme: &theme,
    };
    looks(
        &buffer(ranking, 36, 7),
        "
 Electronics ██████████████ 412k 33%
 Fashion     █████████▌     281k 23%
 Home        ███████        207k 17%
 Beauty      ████▌          133k 11%
 Toys        ███▎            94k  8%
 Sports      ██▍             71k  6%
 3 more                      42k  3%
",
    );
    looks(
        &buffer(ranking, 18, 4),
        "
 Electro… 412k
 Fashion  281k
 Home     207k
 6 more   340k
",
    );
    looks(
        &buffer(ranking, 90, 9),
        "
 Electronics ████████████████████████████████████████████████████████████ 412k 33%
 Fashion     ████████████████████████████████████████▉                    281k 23%
 Home        ██████████████████████████████▏                              207k 17%
 Beauty      ███████████████████▍                                         133k 11%
 Toys        █████████████▊                                                94k  8%
 Sports      ██████████▍                                                   71k  6%
 Garden      ██▉                                                           20k  2%
 Books       ██▏                                                           15k  1%
 Games       █                                                              7k  1%
",
    );
}

#[test]
fn a_spark_tells_zero_from_unknown() {
    let theme = dark();
    let mut series: Vec<Option<f64>> = [5, 6, 6, 7, 6, 5, 3, 2]
        .map(|tps| Some(f64::from(tps)))
        .to_vec();
    series.extend([None, Some(0.0)]);
    let spark = Spark {
        label: "tps",
        label_width: 5,
        value: "2,104",
        value_width: 7,
        severity: None,
        series: &series,
        top: None,
        theme: &theme,
    };
    looks(&buffer(spark, 30, 1), "tps    2,104        ▆▇▇▇▇▆▃▂ ▁");
    looks(
        &buffer(spark, 22, 2),
        "
             ▆▆▇▆▃
tps    2,104 █████▇▅ ▁
",
    );
}

/// A calm figure looks calm: the scale does not follow it.
#[test]
fn a_spark_with_a_scale_keeps_it_and_writes_it() {
    let theme = dark();
    let series = [0.4, 0.5, 0.4, 25.0, 60.0, 0.5].map(Some);
    let spark = Spark {
        label: "p99",
        label_width: 4,
        value: "0.5ms",
        value_width: 7,
        severity: None,
        series: &series,
        top: Some((50.0, "≤50ms")),
        theme: &theme,
    };
    looks(&buffer(spark, 30, 1), "p99   0.5ms       ▁▁▁▄▇▁ ≤50ms");
    let narrow = "p99   0.5ms     ▁▁▁▄▇▁";
    looks(&buffer(spark, 22, 1), narrow);
}

#[test]
fn a_line_has_its_limit_and_a_second_series() {
    let theme = dark();
    let labels = ["2m ago", "1m ago", "now"].map(String::from);
    let line = LineChart {
        labels: &labels,
        values: &[5.0, 5.0, 5.0, 5.0],
        behind: &[1.0, 1.0, 1.0, 1.0],
        target: Some(50.0),
        unit: Unit::Ms,
        theme: &theme,
    };
    looks(
        &buffer(line, 50, 8),
        "
 50ms ┤╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌
      │
      │
 25ms ┤
      │
      │⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒⠒
  0ms ┼───────────────────────────────────────────
       2m ago               1m ago             now
",
    );
}

#[test]
fn figures_stand_in_columns() {
    let theme = dark();
    let figure = |title, text| Figure {
        title,
        text,
        severity: None,
    };
    let items = [
        figure("orders", "812"),
        figure("average", "50.70"),
        figure("users", "790"),
        figure("hour", "41.2k"),
    ];
    let stat = Stat {
        items: &items,
        theme: &theme,
    };
    looks(
        &buffer(stat, 40, 2),
        "
 orders    average   users     hour
 812       50.70     790       41.2k
",
    );
    looks(
        &buffer(stat, 24, 5),
        "
 orders    average
 812       50.70

 users     hour
 790       41.2k
",
    );
    looks(
        &buffer(stat, 44, 1),
        " orders 812  average 50.70  users 790",
    );
    looks(&buffer(stat, 22, 1), " orders 812");
}
