/** Where Perdure looks for a Temporal executable, in which order, and what it says when there is none. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { cacheFolder } from '../dev/cache.ts'
import { findTemporal } from '../dev/temporal-binary.ts'
import { buildTemporal } from '../dev/temporal-build.ts'
import { downloadTemporal } from '../dev/temporal-download.ts'
import { type Provide, temporalVersion } from '../dev/temporal-release.ts'

/** The order of the specification; each source is taken away in turn. */
test('a set TEMPORAL_CLI_PATH wins over everything, then PATH, the cache, the download, the build', async () => {
  const place = makePlace()
  const configured = executable(join(place.folder, 'mine', 'temporal'), '1.30.0')
  const onPath = executable(join(place.bin, 'temporal'), '1.29.2')
  const cached = executable(place.cached, '1.29.1')
  const found = async (env: Record<string, string> = {}, download: Provide = give) => {
    const { path, server, source } = await place.find({ env, download, build: give })
    return { path, server, source }
  }

  const all = { TEMPORAL_CLI_PATH: configured }
  expect(await found(all)).toEqual({ path: configured, server: '1.30.0', source: 'TEMPORAL_CLI_PATH' })
  expect(await found()).toEqual({ path: onPath, server: '1.29.2', source: 'PATH' })
  rmSync(onPath)
  expect(await found()).toEqual({ path: cached, server: '1.29.1', source: 'cache' })
  rmSync(cached)
  expect(await found()).toEqual({ path: cached, server: '1.29.1', source: 'download' })
  rmSync(cached)
  expect(await found({}, refuse('no network'))).toEqual({ path: cached, server: '1.29.1', source: 'build' })
  expect(place.said).toContain('Temporal: no download (no network)')
})

test.each([
  ['is missing', () => {}, /^TEMPORAL_CLI_PATH: .* is not an executable file$/],
  [
    'is no program',
    (path: string) => writeFileSync(path, 'text'),
    /^TEMPORAL_CLI_PATH: .* is not an executable file$/,
  ],
  [
    'is another program',
    (path: string) => script(path, 'echo 1.2.3'),
    /^TEMPORAL_CLI_PATH: .* does not answer --version/,
  ],
  [
    'is too old',
    (path: string) => void executable(path, '1.28.9'),
    /^TEMPORAL_CLI_PATH: the server 1\.28\.9 .* is older than/,
  ],
])('a TEMPORAL_CLI_PATH that %s is an error, not a reason to go on', async (_, make, message) => {
  const place = makePlace()
  executable(join(place.bin, 'temporal'), '1.29.2')
  const path = join(place.folder, 'configured')
  make(path)
  await expect(place.find({ env: { TEMPORAL_CLI_PATH: path } })).rejects.toThrow(message)
})

test('an old or broken temporal on PATH is passed over, aloud', async () => {
  const place = makePlace()
  const old = executable(join(place.bin, 'temporal'), '1.9.0')
  const broken = script(join(place.folder, 'bin2', 'temporal'), 'exit 1')
  const cached = executable(place.cached, '1.29.1')
  const PATH = [place.bin, dirname(broken)].join(':')
  expect(await place.find({ env: { PATH } })).toMatchObject({ path: cached, source: 'cache' })
  expect(place.said).toEqual([
    `Not using ${old}: its server 1.9.0 is older than 1.29.0`,
    `Not using ${broken}: it does not run`,
  ])
})

test('the number of the server counts, not that of the command line', async () => {
  const place = makePlace()
  const path = join(place.bin, 'temporal')
  script(path, 'echo "temporal version 0.0.0-DEV (Server 1.29.1, UI 2.42.1)"')
  expect(await place.find({})).toEqual({ path, server: '1.29.1', source: 'PATH' })
})

test('without any, the error names every way to provide one and what was tried', async () => {
  const place = makePlace()
  const search = place.find({ download: refuse('no network'), build: refuse('Go is not installed') })
  const message = await search.then(String, String)
  for (const way of ['TEMPORAL_ADDRESS=', 'TEMPORAL_CLI_PATH=', 'on PATH', 'a network', 'go install']) {
    expect(message).toContain(way)
  }
  expect(message).toContain('download: no network')
  expect(message).toContain('build: Go is not installed')
})

test('starts at the same time build once, and all use the result', async () => {
  const place = makePlace()
  let builds = 0
  const build: Provide = async (target) => {
    builds++
    await new Promise((done) => setImmediate(done))
    executable(target, '1.29.1')
  }
  const starts = Array.from({ length: 4 }, () => place.find({ download: refuse('no network'), build }))
  const found = await Promise.all(starts)
  expect(found.map(({ path }) => path)).toEqual(Array(4).fill(place.cached))
  expect(builds).toBe(1)
})

test('a cache folder that cannot be written is one line naming its setting', async () => {
  const place = makePlace()
  const file = join(place.folder, 'file')
  writeFileSync(file, '')
  const search = place.find({ env: { PERDURE_CACHE_DIR: file } })
  await expect(search).rejects.toThrow(/^the cache folder .*PERDURE_CACHE_DIR sets another\)$/)
})

test('the build runs go install of the pinned release and moves the result into place', async () => {
  const place = makePlace()
  script(
    join(place.bin, 'go'),
    'echo "$@" > "$GOBIN/../asked"; printf \'#!/bin/sh\\necho "temporal version 0 (Server 1.29.1)"\\n\' > "$GOBIN/temporal"; chmod +x "$GOBIN/temporal"',
  )
  const found = await place.find({
    download: refuse('no network'),
    build: buildTemporal,
    env: { PATH: `${place.bin}:/usr/bin:/bin` },
  })
  expect(found).toEqual({ path: place.cached, server: '1.29.1', source: 'build' })
  expect(place.said.some((line) => line.startsWith(`Building Temporal ${temporalVersion}`))).toBe(true)
  expect(existsSync(join(dirname(place.cached), 'asked'))).toBe(true)
})

test('a build that fails says its last line without addresses', async () => {
  const place = makePlace()
  script(join(place.bin, 'go'), 'echo "go: Get https://user:secret@proxy.example/mod: no route" >&2; exit 1')
  const build = buildTemporal(place.cached, { PATH: `${place.bin}:/usr/bin:/bin` }, () => {})
  const message = await build.then(String, String)
  expect(message).toContain('go install: go: Get …: no route')
  expect(message).not.toContain('secret')
})

test('without Go the build says so', async () => {
  const place = makePlace()
  const build = buildTemporal(place.cached, { PATH: place.bin }, () => {})
  await expect(build).rejects.toThrow('Go is not installed')
})

test('without a network the download fails and leaves nothing', async () => {
  const place = makePlace()
  mkdirSync(dirname(place.cached), { recursive: true })
  const dead = 'http://127.0.0.1:9'
  const env = { PATH: '/usr/bin:/bin', HTTPS_PROXY: dead, https_proxy: dead, ALL_PROXY: dead }
  await expect(downloadTemporal(place.cached, env, () => {})).rejects.toThrow()
  expect(existsSync(place.cached)).toBe(false)
})

test('the cache folder follows PERDURE_CACHE_DIR, then XDG_CACHE_HOME, then the home folder', () => {
  const env = { PERDURE_CACHE_DIR: '/a', XDG_CACHE_HOME: '/b', HOME: '/c' }
  expect(cacheFolder(env)).toBe('/a')
  expect(cacheFolder({ ...env, PERDURE_CACHE_DIR: '' })).toBe('/b/perdure')
  expect(cacheFolder({ HOME: '/c' })).toBe('/c/.cache/perdure')
})

/** A cache, a PATH and an ear of the test's own. */
function makePlace() {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-binary-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const cache = join(folder, 'cache')
  const said: string[] = []
  const find = (options: { env?: Record<string, string>; download?: Provide; build?: Provide }) =>
    findTemporal({
      download: refuse('not in this test'),
      build: refuse('not in this test'),
      ...options,
      env: { PATH: bin, PERDURE_CACHE_DIR: cache, ...options.env },
      say: (line) => said.push(line),
    })
  return { folder, bin, said, find, cached: join(cache, 'temporal', temporalVersion, 'temporal') }
}

const give: Provide = async (target) => void executable(target, '1.29.1')

function refuse(message: string): Provide {
  return async () => {
    throw new Error(message)
  }
}

function executable(path: string, server: string): string {
  return script(path, `echo "temporal version 1.0.0 (Server ${server}, UI 2.42.1)"`)
}

function script(path: string, body: string): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `#!/bin/sh\n${body}\n`)
  chmodSync(path, 0o755)
  return path
}
