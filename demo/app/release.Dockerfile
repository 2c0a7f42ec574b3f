# SPDX-License-Identifier: GPL-3.0-or-later
# One release: the application's image and a last tiny layer that says which
# release it plays. WHY: eleven releases share everything else, on disk and in
# the registry, and each takes a second to build.
ARG APPLICATION
FROM ${APPLICATION}
ARG RELEASE
ARG VERSION
ENV RELEASE=${RELEASE} VERSION=${VERSION}
LABEL org.opencontainers.image.revision=${VERSION}
USER root
RUN if [ -d tools ]; then node tools/select-release.js "$RELEASE"; fi
USER node
