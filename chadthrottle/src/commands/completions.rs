//! `completions`: what has a shell ask us how a command line may go on.

use std::io;

use clap_complete::env::{CompleteEnv, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use crate::{
    cli::{Shell, completed},
    error::Error,
};

/// The environment variable with which a shell asks.
const ASKS: &str = "CHADTHROTTLE_COMPLETE";

const PROGRAM: &str = "chadthrottle";

/// bash parts words at colons and equals signs, and takes a completion for what follows the last of them. So words are
/// parted at spaces here, and what bash has already is taken off what we say. Lines are read as they are: an asterisk in one
/// is no file.
const BASH: &str = r#"_chadthrottle() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n'
    local words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    local current=${words[-1]} index=$((${#words[@]} - 1)) known=
    [[ $current == *[:=]* ]] && known=${current%"${current##*[:=]}"}
    mapfile -t COMPREPLY < <(_CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$index CHADTHROTTLE_COMPLETE=bash \
        chadthrottle -- "${words[@]}" 2> /dev/null)
    COMPREPLY=("${COMPREPLY[@]#"$known"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=/] ]] && compopt -o nospace
    return 0
}
complete -o bashdefault -F _chadthrottle chadthrottle
"#;

/// Where zsh loads the script when it is first asked, it calls that as a function: that is a request already.
const ZSH: &str =
    "\n[[ $funcstack[1] != _chadthrottle ]] || _clap_dynamic_completer_chadthrottle\n";

/// Answers a shell that asks, and gives whether one did.
///
/// # Errors
/// Where the shell is none that we know, or nothing can be written.
pub fn answer() -> Result<bool, Error> {
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(completed)
        .var(ASKS)
        .try_complete(std::env::args_os(), directory.as_deref())
        .map_err(|error| Error::Usage(error.to_string()))
}

/// Prints completions for the shell.
///
/// # Errors
/// Where they cannot be written.
pub fn completions(shell: Shell) -> Result<u8, Error> {
    let script = script(shell).map_err(|error| Error::io("making completions", error))?;
    super::print(&script)?;
    Ok(0)
}

fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => return Ok(BASH.into()),
        Shell::Elvish => &Elvish,
        Shell::Fish => &Fish,
        Shell::PowerShell => &Powershell,
        Shell::Zsh => &Zsh,
    };
    let mut script = Vec::new();
    completer.write_registration(ASKS, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    if matches!(shell, Shell::Zsh) {
        script.extend(ZSH.as_bytes());
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_is_told_how_to_ask() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell).unwrap()).unwrap();
            assert!(script.contains(ASKS), "{shell:?}: {script}");
            assert!(script.contains(PROGRAM), "{shell:?}: {script}");
        }
    }

    #[test]
    fn zsh_is_answered_the_first_time_too() {
        let script = String::from_utf8(script(Shell::Zsh).unwrap()).unwrap();
        let (_, called) = ZSH.rsplit_once(' ').unwrap();
        let defined = format!("function {}()", called.trim_end());
        assert!(script.contains(&defined), "{script}");
        assert!(script.ends_with(ZSH), "{script}");
    }
}
