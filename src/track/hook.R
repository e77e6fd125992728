# Notes which packages this R loads, for `spinney track` (docs/TRACKING.md).
#
# Silent unless SPINNEY_TRACK names a directory. Every package comes through loadNamespace(), whoever asks for it:
# library, require, `::`, requireNamespace, imports of imports. So base's own is called through a wrapper in its place,
# with the caller's call as it was, so errors read as before. Nothing is attached, nothing on the search path is
# masked, and nothing here raises into the program.
local({
    directory <- Sys.getenv("SPINNEY_TRACK")
    real <- base::loadNamespace
    if (!startsWith(directory, "/") || !is.null(attr(real, "spinney"))) return(invisible())
    state <- new.env(parent = baseenv())
    state$children <- numeric()
    state$number <- 0L
    state$pid <- -1L
    own_packages <- c("base", "compiler", "datasets", "graphics", "grDevices", "grid", "methods", "parallel",
                      "splines", "stats", "stats4", "tcltk", "tools", "utils")
    escape <- function(text) {
        if (length(text) != 1L || is.na(text)) return("null")
        text <- substr(enc2utf8(as.character(text)), 1L, 4096L)
        text <- gsub("([\"\\\\])", "\\\\\\1", text)
        paste0("\"", gsub("[[:cntrl:]]", " ", text), "\"")
    }
    header <- function() {
        version <- paste0(R.version$major, ".", R.version$minor)
        started <- format(as.numeric(Sys.time()), nsmall = 6L)
        paste0("[\"proc\",{\"pid\":", Sys.getpid(), ",\"started\":", started, ",\"python\":", escape(version),
               ",\"implementation\":\"R\",\"executable\":", escape(file.path(R.home("bin"), "R")),
               ",\"prefix\":", escape(R.home()), ",\"base_prefix\":", escape(R.home()), "}]\n")
    }
    write <- function(line) {
        pid <- Sys.getpid()
        if (pid != state$pid) {
            state$pid <- pid
            state$file <- file.path(directory, paste0("r-", pid, "-", as.integer(Sys.time()), ".rec"))
            mask <- Sys.umask("077")
            on.exit(Sys.umask(mask))
            line <- paste0(header(), line)
        }
        cat(line, file = state$file, append = TRUE, sep = "")
    }
    # Who asked: a package if the nearest function that is no part of base belongs to one, else the user.
    importer <- function() {
        for (at in rev(seq_len(sys.nframe()))) {
            home <- topenv(environment(sys.function(at)))
            if (isNamespace(home) && !identical(home, baseenv()) && !identical(home, .BaseNamespaceEnv))
                return(getNamespaceName(home)[[1L]])
        }
        NULL
    }
    note <- function(package, by, own, total, order) {
        namespace <- .getNamespace(package)
        if (is.null(namespace)) return()
        version <- tryCatch(namespace[[".__NAMESPACE__."]]$spec[["version"]], error = function(e) NA)
        path <- tryCatch(namespace[[".__NAMESPACE__."]]$path, error = function(e) NULL)
        flags <- paste0(if (package %in% own_packages) "s", "p", if (is.null(by)) "a")
        write(paste0("[\"i\",", order, ",", escape(package), ",", escape(path), ",", escape(version), ",",
                     format(max(0, round(own * 1e6)), scientific = FALSE), ",",
                     format(max(0, round(total * 1e6)), scientific = FALSE), ",\"", flags, "\",", escape(by), "]\n"))
    }
    wrapper <- function() {
        call <- sys.call()
        call[[1L]] <- quote(loadNamespace)
        caller <- new.env(parent = parent.frame())
        caller$loadNamespace <- real
        name <- tryCatch(if (is.character(package)) package[[1L]], error = function(e) NULL)
        is_new <- is.character(name) && is.null(.getNamespace(name))
        if (!is_new) return(eval(call, caller))
        by <- tryCatch(importer(), error = function(e) NULL)
        # An import of a package that is only just being loaded is not the user's own.
        if (is.null(by) && length(state$loading)) by <- state$loading[[length(state$loading)]]
        state$number <- order <- state$number + 1L
        state$children <- c(state$children, 0)
        state$loading <- c(state$loading, name)
        start <- proc.time()[[3L]]
        on.exit(tryCatch({
            total <- proc.time()[[3L]] - start
            depth <- length(state$children)
            own <- total - state$children[[depth]]
            state$children <- state$children[-depth]
            state$loading <- state$loading[-depth]
            if (depth > 1L) state$children[[depth - 1L]] <- state$children[[depth - 1L]] + total
            note(name, by, own, total, order)
        }, error = function(e) NULL, warning = function(w) NULL))
        eval(call, caller)
    }
    formals(wrapper) <- formals(real)
    attr(wrapper, "spinney") <- TRUE
    home <- baseenv()
    unlockBinding("loadNamespace", home)
    assign("loadNamespace", wrapper, envir = home)
    lockBinding("loadNamespace", home)
    invisible()
})
