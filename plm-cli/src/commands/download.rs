use plm::hub::HubOptions;

use crate::args::DownloadArgs;
use crate::error::Error;
use crate::model::Needed;
use crate::{model, output};

pub(crate) fn run(args: DownloadArgs) -> Result<(), Error> {
    let mut options = HubOptions::from_env();
    options.revision = args.revision;
    let dir = model::fetch(&args.repo, options, Needed::Everything)?;
    output::line(&dir.display().to_string())
}
