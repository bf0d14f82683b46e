// Files from elsewhere, fetched so that a broken connection costs nothing and a changed byte is noticed.
export { fetchFile, type FetchFileOptions } from "./file.ts";
export { defaultCacheDir, downloadPackage, type DownloadOptions, type Tarball } from "./package.ts";
export { parsePackageSpec, type PackageSpec } from "./registry.ts";
export { unpack } from "./unpack.ts";
