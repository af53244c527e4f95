; Inno Setup: the Windows installer. packaging/bundle.py calls
;   ISCC /DVersion=1.2.3 /DSource=dist\orderbook-desktop /DIcon=build\bundle\icon.ico /O<dist> <this file>

#define Name "Orderbook Desktop"
#define Program "orderbook-desktop.exe"

[Setup]
; Never changes: it is how a new version finds the one to replace.
AppId={{6B0C2F34-8E0B-4B5B-9A51-7D0E5C2C7A41}
AppName={#Name}
AppVersion={#Version}
AppVerName={#Name} {#Version}
AppPublisher=The Orderbook Desktop founders
; For one user, without an administrator; asked for, also for all.
PrivilegesRequired=lowest
PrivilegesRequiredOverridesAllowed=dialog
DefaultDirName={autopf}\{#Name}
DefaultGroupName={#Name}
DisableProgramGroupPage=yes
LicenseFile={#Source}\LICENSES\{#Name}.txt
OutputBaseFilename=orderbook-desktop-{#Version}-windows-x86_64
SetupIconFile={#Icon}
UninstallDisplayIcon={app}\{#Program}
ArchitecturesAllowed=x64compatible
ArchitecturesInstallIn64BitMode=x64compatible
MinVersion=10.0.17763
Compression=lzma2/max
SolidCompression=yes
WizardStyle=modern
; A running copy would keep its files from being replaced.
CloseApplications=yes
RestartApplications=no

[Files]
Source: "{#Source}\*"; DestDir: "{app}"; Flags: ignoreversion recursesubdirs createallsubdirs

[InstallDelete]
; What an older version brought and this one doesn't have must not be found by it.
Type: filesandordirs; Name: "{app}\_internal"

[Icons]
Name: "{group}\{#Name}"; Filename: "{app}\{#Program}"
Name: "{group}\{#Name} (made-up market)"; Filename: "{app}\{#Program}"; Parameters: "--demo"
Name: "{autodesktop}\{#Name}"; Filename: "{app}\{#Program}"; Tasks: desktopicon

[Tasks]
Name: "desktopicon"; Description: "{cm:CreateDesktopIcon}"; GroupDescription: "{cm:AdditionalIcons}"; Flags: unchecked

[Run]
Filename: "{app}\{#Program}"; Description: "{cm:LaunchProgram,{#Name}}"; Flags: nowait postinstall skipifsilent

; Settings and recordings are in the user's data folder: uninstalling leaves them.
