//! What is uploaded: the program as `bootstrap`, its configuration, and the template of the stack.

use std::{
    fs,
    io::{self, Cursor, Write},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

/// The template of CloudFormation.
pub(super) const TEMPLATE: &str = include_str!("template.yaml");
const TEMPLATE_NAME: &str = "template.yaml";
const PACKAGE_NAME: &str = "bailee-replicate.zip";
/// The configuration's place in the package; it keeps its ending.
const CONFIGURATION_STEM: &str = "replicate";
/// Lines of the template.
const SCHEDULE_DEFAULT: &str = "    Default: rate(30 minutes)\n";
const PREFIX_DEFAULT: &str = "    Default: hybrid-aws-secrets\n";
/// What Amazon Linux 2023 has.
const GLIBC_THERE: (u32, u32) = (2, 34);
/// What a package may have, unpacked.
const PROGRAM_BYTES_MAX: u64 = 250 << 20;

/// What goes into a package.
#[derive(Debug)]
pub(crate) struct Package {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its configuration, if it is not all in the environment.
    pub(crate) configuration: Option<PathBuf>,
    /// The folder it is written to.
    pub(crate) folder: PathBuf,
    /// When it runs, instead of the template's own default.
    pub(crate) schedule: Option<String>,
    /// What names begin with, instead of the template's own default.
    pub(crate) prefix: Option<String>,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Packaged {
    /// The package.
    pub(crate) package: PathBuf,
    /// The template.
    pub(crate) template: PathBuf,
    /// What is better known before it is uploaded.
    pub(crate) warnings: Vec<String>,
}

impl Package {
    /// Writes package and template; the same input gives the same bytes.
    pub(crate) fn write(&self) -> Result<Packaged, String> {
        let told = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("{path}: {error}")
        };
        let size = fs::metadata(&self.program).map_err(told(&self.program))?.len();
        if size > PROGRAM_BYTES_MAX {
            let most = PROGRAM_BYTES_MAX >> 20;
            return Err(format!("{}: larger than {most} MiB", self.program.display()));
        }
        let program = fs::read(&self.program).map_err(told(&self.program))?;
        let mut files = vec![("bootstrap".to_owned(), 0o755, program.as_slice())];
        let configuration;
        if let Some(file) = &self.configuration {
            configuration = fs::read(file).map_err(told(file))?;
            let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or("hcl");
            files.push((format!("{CONFIGURATION_STEM}.{ending}"), 0o644, &configuration));
        }
        let bytes = zipped(&files).map_err(|error| format!("the package: {error}"))?;
        fs::create_dir_all(&self.folder).map_err(told(&self.folder))?;
        let package = self.folder.join(PACKAGE_NAME);
        let template = self.folder.join(TEMPLATE_NAME);
        fs::write(&package, bytes).map_err(told(&package))?;
        fs::write(&template, self.template()).map_err(told(&template))?;
        Ok(Packaged { package, template, warnings: warnings(&program) })
    }
}

impl Package {
    /// The template with defaults that fit the configuration.
    fn template(&self) -> String {
        let mut text = TEMPLATE.to_owned();
        for (default, wanted) in
            [(SCHEDULE_DEFAULT, &self.schedule), (PREFIX_DEFAULT, &self.prefix)]
        {
            if let Some(wanted) = wanted {
                // JSON's texts are YAML's.
                let wanted = serde_json::Value::from(wanted.as_str());
                text = text.replacen(default, &format!("    Default: {wanted}\n"), 1);
            }
        }
        text
    }
}

fn zipped(files: &[(String, u32, &[u8])]) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, content) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(*mode);
        archive.start_file(name, options)?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// A program that was linked to newer libraries than Lambda has does not start there.
fn warnings(program: &[u8]) -> Vec<String> {
    let (major, minor) = GLIBC_THERE;
    match glibc_needed(program) {
        Some(needed) if needed > GLIBC_THERE => vec![format!(
            "the program needs glibc {}.{}, and provided.al2023 has {major}.{minor}: build it on \
             Amazon Linux 2023, or for x86_64-unknown-linux-musl",
            needed.0, needed.1
        )],
        Some(_) | None if !program.starts_with(b"\x7fELF") => {
            vec!["the program is not one for Linux".to_owned()]
        }
        Some(_) | None => Vec::new(),
    }
}

/// The newest version of glibc that the program asks its loader for.
fn glibc_needed(program: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let marks = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let versions = marks.filter_map(|(at, _)| {
        let rest = program.get(at + MARK.len()..)?;
        let end = rest.iter().take(8).position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(rest.get(..end)?).ok()?;
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &Path, program: &[u8]) -> Package {
        fs::write(folder.join("program"), program).unwrap();
        Package {
            program: folder.join("program"),
            configuration: None,
            folder: folder.join("out"),
            schedule: None,
            prefix: None,
        }
    }

    #[test]
    fn a_package_is_the_same_for_the_same_input_and_its_program_may_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut package = package(folder.path(), b"\x7fELF program");
        fs::write(folder.path().join("mine.yaml"), "a: 1\n").unwrap();
        package.configuration = Some(folder.path().join("mine.yaml"));
        let first = package.write().unwrap();
        let bytes = fs::read(&first.package).unwrap();
        assert_eq!(fs::read(package.write().unwrap().package).unwrap(), bytes);
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let names: Vec<String> =
            archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["bootstrap", "replicate.yaml"]);
        let mode = archive.by_name("bootstrap").unwrap().unix_mode();
        assert_eq!(mode.map(|mode| mode & 0o777), Some(0o755));
        assert_eq!(fs::read_to_string(first.template).unwrap(), TEMPLATE);
        assert_eq!(first.warnings, Vec::<String>::new());
    }

    #[test]
    fn a_program_that_would_not_start_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let newer = b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.38\0GLIBC_PRIVATE\0";
        let [warning] = package(folder.path(), newer).write().unwrap().warnings.try_into().unwrap();
        assert!(warning.contains("needs glibc 2.38"), "{warning}");
        let fits = b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.34\0";
        assert!(package(folder.path(), fits).write().unwrap().warnings.is_empty());
        let [warning] = package(folder.path(), b"MZ").write().unwrap().warnings.try_into().unwrap();
        assert!(warning.contains("not one for Linux"), "{warning}");
    }

    #[test]
    fn the_template_has_the_defaults_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let mut package = package(folder.path(), b"\x7fELF");
        package.schedule = Some("cron(0 2 * * ? *)".to_owned());
        package.prefix = Some("apps".to_owned());
        let text = fs::read_to_string(package.write().unwrap().template).unwrap();
        assert!(text.contains("    Default: \"cron(0 2 * * ? *)\"\n"));
        assert!(text.contains("    Default: \"apps\"\n"));
        assert_eq!(text.lines().count(), TEMPLATE.lines().count());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut package = package(folder.path(), b"");
        package.configuration = Some(folder.path().join("missing.hcl"));
        assert!(package.write().unwrap_err().contains("missing.hcl"));
        assert!(!folder.path().join("out").exists());
    }
}
