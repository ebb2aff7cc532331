use plm_train::plot_metrics;

use crate::args::PlotArgs;
use crate::error::Error;
use crate::output;

pub(crate) fn run(args: PlotArgs) -> Result<(), Error> {
    plot_metrics(&args.metrics, &args.out)?;
    output::line(&args.out.display().to_string())
}
