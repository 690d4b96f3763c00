# One image for every process: `docker run perdure api`, `worker`, `records`, `serve <module>`, or any other command.
# BASE_IMAGE needs Node 24 on Debian's C library; BUILD_IMAGE also npm, or a node_modules that is already there.
ARG BASE_IMAGE=docker.io/library/node:24.21.0-bookworm-slim
ARG BUILD_IMAGE=${BASE_IMAGE}

FROM ${BUILD_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN test -d node_modules || npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY deploy/image/slim.mjs /tmp/slim.mjs
RUN node /tmp/slim.mjs .

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN test -d node_modules || npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node node_modules/typescript/bin/tsc --noCheck -p deploy/image/tsconfig.json \
 && cp examples/iris/model.json dist/examples/iris/ \
 && node --input-type=module -e "const { workflowBundle } = await import('/src/dist/worker/bundle.js'); await workflowBundle('/src/cache/bundles')"

FROM ${BASE_IMAGE}
ENV NODE_ENV=production \
    ENVIRONMENT=production \
    HTTP_SERVER_ADDRESS=0.0.0.0:8000 \
    PERDURE_DATA_DIR=/data \
    PERDURE_CACHE_DIR=/app/cache \
    NODE_OPTIONS=--max-semi-space-size=8
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /src/package.json /src/LICENSE ./
COPY --from=build /src/dist ./dist
# Built beforehand: no bundler runs at a start, and the root file system may be read-only.
COPY --from=build /src/cache ./cache
# `docker exec … perdure <command>`
RUN node -e "fs.chmodSync('dist/cli/main.js', 0o755); fs.symlinkSync('/app/dist/cli/main.js', '/usr/local/bin/perdure')"
# Uploads may be a volume of their own; a new one takes the owner of its place.
RUN node -e "for (const folder of ['/data', '/data/files']) { fs.mkdirSync(folder); fs.chownSync(folder, 1000, 1000) }"
USER 1000:1000
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["node", "/app/dist/deploy/healthcheck.js"]
ENTRYPOINT ["node", "/app/dist/cli/main.js"]
CMD ["api"]
