
# Entered through R_PROFILE: the profile that R would have read comes next.
local({
    site <- Sys.getenv("SPINNEY_R_PROFILE", file.path(R.home("etc"), "Rprofile.site"))
    if (nzchar(site) && file.exists(site)) sys.source(path.expand(site), baseenv(), keep.source = FALSE)
    invisible()
})
