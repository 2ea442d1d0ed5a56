//! `pages FOLDER DATE`: writes every page into the folder. `make pages` calls it.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, date] = &arguments[..] else {
        eprintln!("usage: pages FOLDER DATE");
        process::exit(2);
    };
    fs::create_dir_all(folder)?;
    for (name, text) in pages::all(date) {
        let path: PathBuf = Path::new(folder).join(name);
        fs::write(&path, text)?;
        println!("{}", path.display());
    }
    Ok(())
}
