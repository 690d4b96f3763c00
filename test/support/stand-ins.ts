/**
 * Images that stand in for those of docker-compose.yml that only a registry has: the same programs, from Debian's
 * packages or built from their Go modules, behind the same commands, folders and ports.
 */
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { temporalUi } from '../../scripts/compose.mjs'
import { layOutProgram } from '../../scripts/docker-image.mjs'
import { postgresFolder } from '../../scripts/postgres.mjs'
import { findExecutable } from '../../scripts/run.mjs'
import { temporalServerPrograms } from '../../scripts/temporal-server.mjs'
import { ensureBaseImage } from './docker.ts'
import { docker } from './own-image.ts'

interface StandIn {
  /** Files of the image, in addition to Node, a shell and their libraries. */
  layOut(root: string): void
  /** Of a Dockerfile. */
  lines: string[]
}

/** As PostgreSQL's image does: makes the cluster in an empty volume, its database and user; then runs the command. */
const postgresEntrypoint = `#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/password
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --encoding=UTF8 "$PGDATA"
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -j postgres
fi
exec "$@"
`

/** What the health check of Temporal's server asks for; busybox of Debian has no `nc -z`. */
const netcat = `#!/usr/local/bin/node
const [host, port] = process.argv.slice(-2)
require('node:net').connect(port, host).on('connect', () => process.exit(0)).on('error', () => process.exit(1))
`

/** @param temporalCli the command `temporal` */
function standIns(temporalCli: string): Record<string, StandIn> {
  const temporal: StandIn = {
    layOut(root) {
      const programs = { temporal: temporalCli, ...temporalServerPrograms() }
      for (const [name, path] of Object.entries(programs)) layOutProgram(root, path, `/usr/local/bin/${name}`)
      writeProgram(root, '/usr/local/bin/nc', netcat)
    },
    lines: ['USER 1000:1000', 'ENTRYPOINT ["temporal-server"]'],
  }
  return {
    postgres: {
      layOut(root) {
        const programs = postgresFolder() ?? ''
        const libraries = join(dirname(programs), 'lib')
        const data = programs.replace('/usr/lib', '/usr/share').replace(/\/bin$/, '')
        for (const folder of [libraries, data]) {
          mkdirSync(dirname(join(root, folder)), { recursive: true })
          cpSync(folder, join(root, folder), { recursive: true, dereference: true })
        }
        for (const name of ['postgres', 'initdb', 'pg_isready', 'pg_dump', 'pg_restore']) {
          layOutProgram(root, join(programs, name))
        }
        writeProgram(root, '/usr/local/bin/docker-entrypoint', postgresEntrypoint)
        for (const folder of ['var/lib/postgresql/data', 'var/run/postgresql']) {
          mkdirSync(join(root, folder), { recursive: true })
        }
      },
      lines: [
        `ENV PATH=/usr/local/bin:/bin:${postgresFolder()} LANG=C PGDATA=/var/lib/postgresql/data`,
        'USER 1000:1000',
        'ENTRYPOINT ["docker-entrypoint"]',
        'CMD ["postgres"]',
      ],
    },
    temporal,
    'temporal-schema': temporal,
    'temporal-namespace': temporal,
    'temporal-ui': {
      layOut(root) {
        cpSync(temporalUi() ?? '', join(root, 'home/ui-server'), { recursive: true })
      },
      lines: [
        'WORKDIR /home/ui-server',
        'USER 1000:1000',
        'ENTRYPOINT ["./ui-server", "--env", "docker", "start"]',
      ],
    },
    prometheus: {
      layOut(root) {
        layOutProgram(root, findExecutable('prometheus') ?? '', '/bin/prometheus')
        mkdirSync(join(root, 'prometheus'))
        mkdirSync(join(root, 'etc/prometheus'), { recursive: true })
      },
      lines: ['USER 1000:1000', 'ENTRYPOINT ["prometheus"]'],
    },
  }
}

/** Images by service. Grafana has none: nothing of it can be had without a registry. A few seconds. */
export async function buildStandIns(temporalCli: string): Promise<Record<string, string>> {
  const built = new Map<StandIn, string>()
  const images: Record<string, string> = {}
  for (const [service, standIn] of Object.entries(standIns(temporalCli))) {
    const image = built.get(standIn) ?? (await build(service, standIn))
    built.set(standIn, image)
    images[service] = image
  }
  return images
}

async function build(service: string, { layOut, lines }: StandIn): Promise<string> {
  const image = `localhost/perdure-${service}:test`
  const folder = mkdtempSync(join(tmpdir(), 'perdure-stand-in-'))
  try {
    const root = join(folder, 'files')
    mkdirSync(root)
    layOut(root)
    const copy = ['COPY --chown=1000:1000 files/ /']
    writeFileSync(
      join(folder, 'Dockerfile'),
      [`FROM ${await ensureBaseImage()}`, ...copy, ...lines].join('\n'),
    )
    await docker('build', '--quiet', '--tag', image, folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return image
}

function writeProgram(root: string, path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
  chmodSync(join(root, path), 0o755)
}
