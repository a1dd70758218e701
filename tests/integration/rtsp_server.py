#!/usr/bin/python3
"""A real RTSP server for the tests: GStreamer's, run by the system's Python, which has its bindings.

Prints ``ready`` when it listens. Needs the Debian packages that test_stream_input.py names.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", required=True)
    parser.add_argument("--path", default="/stream")
    parser.add_argument("--launch", required=True, help="a pipeline that ends in a payloader named pay0")
    parser.add_argument("--auth", choices=["basic", "digest"])
    parser.add_argument("--user", default="kit")
    parser.add_argument("--password", default="")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(options.address)
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(options.launch)
    factory.set_shared(False)
    if options.auth:
        method = GstRtsp.RTSPAuthMethod.BASIC if options.auth == "basic" else GstRtsp.RTSPAuthMethod.DIGEST
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(method)
        token = GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
        if options.auth == "basic":
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
        else:
            auth.add_digest(options.user, options.password, token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
        permissions.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(options.path, factory)
    if server.attach(None) == 0:
        sys.exit("the server could not listen")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
